-- Two things that Envoy's transcoder does not do. Requests: a field that no message has is refused, since the transcoder drops
-- it silently. Answers: a google.rpc.Status becomes Cairn's error document.
-- In front of these lines the configuration puts FIELDS: for each message its fields, by both of their names, each with the
-- message that it holds, or ''.

local CODES = {
  [1] = 'CANCELLED', [2] = 'UNKNOWN', [3] = 'INVALID_ARGUMENT', [4] = 'DEADLINE_EXCEEDED', [5] = 'NOT_FOUND',
  [6] = 'ALREADY_EXISTS', [7] = 'PERMISSION_DENIED', [8] = 'RESOURCE_EXHAUSTED', [9] = 'FAILED_PRECONDITION',
  [10] = 'ABORTED', [11] = 'OUT_OF_RANGE', [12] = 'UNIMPLEMENTED', [13] = 'INTERNAL', [14] = 'UNAVAILABLE',
  [15] = 'DATA_LOSS', [16] = 'UNAUTHENTICATED',
}
local DEPTH_MAX = 64
local NO_ENCODING = {field = 'Content-Encoding', description = 'is none that is known here: send gzip, or no encoding'}
local NO_GZIP = {
  field = 'Content-Encoding', description = 'is gzip, but the body is not: compress it, or leave the header out',
}
-- As in ingest's own HTTP server: a worker of Envoy answers nobody else while it reads a body.
local VALUES_MAX = 400000
local FIELD_SHOWN = 256
local ESCAPES = {['"'] = '\\"', ['\\'] = '\\\\'}
local read

local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return ESCAPES[c] or ('\\u%04x'):format(c:byte()) end) .. '"'
end

local function is_utf8(text)
  local ascii = text:gsub('[\194-\223][\128-\191]', '.'):gsub('[\224-\239][\128-\191][\128-\191]', '.')
  return not ascii:gsub('[\240-\244][\128-\191][\128-\191][\128-\191]', '.'):find('[\128-\255]')
end

local function refuse(field, description)
  if not is_utf8(field) then field = field:gsub('[\128-\255]', '?') end
  if #field > FIELD_SHOWN then field = field:sub(1, FIELD_SHOWN):gsub('[\192-\255][\128-\191]*$', '') .. '...' end
  error({field = field == '' and 'body' or field, description = description}, 0)
end

local function no_json(at, expected)
  refuse('body', ('is no JSON document: expected %s at byte %d; send one in UTF-8'):format(expected, at))
end

local function skip(text, at)
  return text:find('[^ \t\r\n]', at) or #text + 1
end

local function string_end(text, at)
  if text:byte(at) ~= 34 then no_json(at, 'a string') end
  -- A control character ends the search too. DEL is none in JSON.
  local found = text:find('["\\%z\1-\31]', at + 1)
  while found and text:byte(found) == 92 do found = text:find('["\\%z\1-\31]', found + 2) end
  if not found or text:byte(found) ~= 34 then no_json(at, 'the end of a string') end
  return found
end

-- The position after the members of an object or the elements of a list that begins at `at`.
local function each(text, at, closing, one)
  at = skip(text, at + 1)
  if text:sub(at, at) == closing then return at + 1 end
  while true do
    at = skip(text, one(at))
    local sign = text:sub(at, at)
    if sign == closing then return at + 1 end
    if sign ~= ',' then no_json(at, "',' or '" .. closing .. "'") end
    at = skip(text, at + 1)
  end
end

local function read_object(text, at, message, path, depth)
  local fields, seen = message and FIELDS[message], {}
  return each(text, at, '}', function(key_at)
    local key_end = string_end(text, key_at)
    local key = text:sub(key_at + 1, key_end - 1)
    local inside = (path == '' and '' or path .. '.') .. key
    if fields and fields[key] == nil then
      refuse(inside, ('is no field of %s: see /openapi.yaml for its fields'):format(message))
    end
    -- A field has two names: learner_id and learnerId.
    local name = key:gsub('_(%w)', string.upper)
    if seen[name] then refuse(inside, 'is given twice: keep the right one') end
    seen[name] = true
    local colon = skip(text, key_end + 1)
    if text:byte(colon) ~= 58 then no_json(colon, "':'") end
    return read(text, skip(text, colon + 1), fields and fields[key], inside, depth + 1)
  end)
end

-- The position after the value at `at`. `message` is what its objects are; '': it may have none, and the transcoder checks
-- the rest; nil: whatever.
read = function(text, at, message, path, depth)
  if depth > DEPTH_MAX then refuse(path, 'is nested too deeply') end
  local sign = text:sub(at, at)
  if sign == '{' and message == '' then refuse(path, 'is an object, and its type has none: see /openapi.yaml') end
  if sign == '{' then return read_object(text, at, message, path, depth) end
  if sign == '[' then
    local index = -1
    return each(text, at, ']', function(element_at)
      index = index + 1
      return read(text, element_at, message, path .. '[' .. index .. ']', depth + 1)
    end)
  end
  if sign == '"' then return string_end(text, at) + 1 end
  local last = select(2, text:find('^-?%d[%d.eE+-]*', at))
  if last then return last + 1 end
  for _, word in ipairs({'true', 'false', 'null'}) do
    if text:sub(at, at + #word - 1) == word then return at + #word end
  end
  no_json(at, 'a value')
end

local function check(text, message, path)
  local _, values = text:gsub('[,:]', '')
  if values > VALUES_MAX then
    refuse('body', ('has up to %d values, and a request may have %d: send it in several requests'):format(values, VALUES_MAX))
  end
  local at = skip(text, read(text, skip(text, 1), message, path, 0))
  if at <= #text then no_json(at, 'the end') end
end

local function respond(handle, status, problem)
  local field, description = quoted(problem.field), quoted(problem.description)
  handle:headers():replace('x-cairn-refused', 'yes')
  handle:respond(
    {[':status'] = status, ['content-type'] = 'application/json'},
    '{"error":{"code":"INVALID_ARGUMENT","message":' .. quoted(problem.field .. ': ' .. problem.description)
      .. ',"field_violations":[{"field":' .. field .. ',"description":' .. description .. '}]}}'
  )
end

local function is_encoded(encoding)
  return encoding and encoding:lower() ~= 'identity'
end

-- A request that is not marked at the end reaches no service.
local function mark_checked(handle)
  handle:streamInfo():dynamicMetadata():set('envoy.filters.http.lua', 'checked', true)
end

function envoy_on_request(handle)
  handle:headers():remove('x-cairn-refused')
  -- What the handle gives is not to be used any more once the body was waited for.
  local message, path = handle:metadata():get('message'), handle:metadata():get('path')
  if not message then return mark_checked(handle) end
  local encoding, sent = handle:headers():get('content-encoding'), handle:headers():get('x-cairn-encoding')
  handle:headers():remove('x-cairn-encoding')
  if is_encoded(encoding) then return respond(handle, '415', NO_ENCODING) end
  local body = handle:body()
  local length = body and body:length() or 0
  if length == 0 then
    if is_encoded(sent) then return respond(handle, '400', NO_GZIP) end
    return mark_checked(handle)
  end
  local fine, problem = pcall(check, body:getBytes(0, length), message, path)
  if fine then return mark_checked(handle) end
  if type(problem) ~= 'table' then error(problem) end
  respond(handle, '400', problem)
end

-- The members of an object in the transcoder's own JSON, each as its text.
local function members(text)
  local found = {}
  each(text, 1, '}', function(key_at)
    local key_end = string_end(text, key_at)
    local from = skip(text, skip(text, key_end + 1) + 1)
    local after = read(text, from, nil, '', 0)
    found[text:sub(key_at + 1, key_end - 1)] = text:sub(from, after - 1)
    return after
  end)
  return found
end

local function error_of(text, headers)
  local status = members(text)
  local code = CODES[tonumber(status.code)] or 'UNKNOWN'
  local parts = {'"code":"' .. code .. '"', '"message":' .. (status.message or '""')}
  local function add(detail)
    if detail.field_violations then parts[#parts + 1] = '"field_violations":' .. detail.field_violations end
    if detail.reason then parts[#parts + 1] = '"reason":' .. detail.reason end
    local seconds = detail.retry_delay and detail.retry_delay:match('^"([%d.]+)s"$')
    if seconds then
      parts[#parts + 1] = '"retry_after_s":' .. seconds
      headers:replace('retry-after', ('%d'):format(math.ceil(tonumber(seconds))))
    end
  end
  if status.details then
    each(status.details, 1, ']', function(at)
      local after = read(status.details, at, nil, '', 0)
      add(members(status.details:sub(at, after - 1)))
      return after
    end)
  end
  if code == 'UNAUTHENTICATED' then headers:replace('www-authenticate', 'Bearer realm="cairn"') end
  return '{"error":{' .. table.concat(parts, ',') .. '}}'
end

-- The transcoder's refusals begin with the path of the field, or name a parameter.
local function with_violation(text)
  local message = text:match('^{"error":{"code":"INVALID_ARGUMENT","message":(".*")}}%s*$')
  local field, description = (message or ''):match('^"([%w_.%[%]]+): (.+)"$')
  if not field then
    field = (message or ''):match('^"Could not find field \\"([%w_.]+)\\"')
    description = 'is no parameter of this path: see /openapi.yaml for its parameters'
  end
  if message == '": Root element must be a message."' then
    field, description = 'body', 'is no JSON object: send one, with the fields that /openapi.yaml has'
  end
  if not field then return text end
  return '{"error":{"code":"INVALID_ARGUMENT","message":"' .. field .. ': ' .. description .. '","field_violations":[{"field":"'
    .. field .. '","description":"' .. description .. '"}]}}'
end

function envoy_on_response(handle)
  if tonumber(handle:headers():get(':status')) < 400 then
    if handle:metadata():get('lines') then handle:headers():replace('content-type', 'application/x-ndjson') end
    return
  end
  local body = handle:body()
  if not body or body:length() == 0 then return end
  local text, headers = body:getBytes(0, body:length()), handle:headers()
  local answer = text:sub(1, 8) == '{"code":' and error_of(text, headers) or with_violation(text)
  headers:replace('content-length', tostring(body:setBytes(answer)))
  headers:replace('content-type', 'application/json')
end
