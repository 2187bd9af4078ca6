"""Generated code of Cairn's contracts; see protos/."""
