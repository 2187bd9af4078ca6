"""What tables call rows of totals and averages, in lower case, in the languages that school systems are used in."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOTALS = _words(
    """
    total totals subtotal sum
    totale somme totaux
    gesamt summe gesamtsumme insgesamt endsumme
    totaal som
    suma totales
    soma totais
    somma totali
    summa totalt
    ialt
    yhteensä
    suma razem łącznie ogółem
    celkem součet
    spolu súčet
    összesen
    ukupno zbroj skupaj vsota
    kokku kopā viso
    toplam
    всего итого сумма
    усього разом
    общо
    σύνολο
    合计 总计 小计 合計 総計 總計 小計
    합계 총계 소계
    jumlah
    tổng
    รวม ผลรวม
    कुल जोड़ योग
    المجموع مجموع الإجمالي
    סה"כ
    """
) | {"i alt", "genel toplam", "tổng cộng", "סך הכל", "total general", "total général", "grand total"}

AVERAGES = _words(
    """
    average averages avg mean median
    moyenne moyennes médiane moy
    durchschnitt mittelwert mittel schnitt notenschnitt klassenschnitt median ø
    gemiddelde mediaan gem
    promedio media mediana
    média mediana
    media mediana
    medelvärde genomsnitt medel medeltal
    gjennomsnitt snitt gennemsnit middelværdi
    keskiarvo mediaani
    średnia mediana
    průměr medián
    priemer
    átlag
    prosjek povprečje
    keskmine vidējais vidurkis
    ortalama
    среднее средний медиана
    середнє
    средно
    μέσος
    平均 平均值 平均分 平均点 中位数 中央値
    평균
    rerata purata
    ค่าเฉลี่ย เฉลี่ย
    औसत
    المتوسط متوسط المعدل
    ממוצע
    """
) | {"μέσος όρος", "trung bình", "điểm trung bình", "rata-rata", "keskmine hinne"}

ENDINGS = ("durchschnitt", "mittelwert", "gemiddelde", "genomsnitt", "gjennomsnitt", "gennemsnit", "keskiarvo")
"""What words such as Klassendurchschnitt end with, which say that they are averages."""

QUALIFIERS = _words(
    """
    all class course group overall grand general school district students score scores points grade grades row
    de la le du des classe générale général groupe note notes
    der die das klasse kurs gruppe note noten punkte
    klas groep het van
    del el clase grupo curso general nota notas puntos
    da do turma geral classe generale della voti
    klass klassen gruppen klasy ogólna ogólny oceny
    класс классу по группе балл общий
    班级 全班
    """
)
"""Words that stand next to these and change nothing."""
