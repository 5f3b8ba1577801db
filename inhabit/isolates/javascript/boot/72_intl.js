// Intl itself: collation, lists, relative times, and what the two files before this one made.
// Order of text: letters without their accents and case first, then accents, then lower before upper case.
const stripMarks = (text) => replaceIn(normalizeOf(text, 'NFD'), /\p{M}+/gu, '');
const classRank = (character) => (testOf(/\s/u, character) ? 0 : testOf(/[\p{P}\p{S}]/u, character) ? 1 : testOf(/\d/u, character) ? 2 : 3);
const compareKeys = (a, b, numeric) => {
  let i = 0, j = 0;
  while (i < a.length && j < b.length) {
    if (numeric && testOf(/\d/, a[i]) && testOf(/\d/, b[j])) {
      const left = matches(/^0*(\d+)/, slice(a, i)), right = matches(/^0*(\d+)/, slice(b, j));
      if (left[1].length !== right[1].length) return left[1].length < right[1].length ? -1 : 1;
      if (left[1] !== right[1]) return left[1] < right[1] ? -1 : 1;
      i += left[0].length;
      j += right[0].length;
      continue;
    }
    if (a[i] !== b[j]) {
      const rank = classRank(a[i]) - classRank(b[j]);
      return rank !== 0 ? (rank < 0 ? -1 : 1) : a[i] < b[j] ? -1 : 1;
    }
    i++;
    j++;
  }
  return a.length - i === b.length - j ? 0 : a.length - i < b.length - j ? -1 : 1;
};
const compareText = (a, b, options) => {
  if (a === b) return 0;
  if (options.spanish) { a = replaceIn(a, /[ñÑ]/g, 'n\uffff'); b = replaceIn(b, /[ñÑ]/g, 'n\uffff'); } // a letter after n
  const baseA = stripMarks(a), baseB = stripMarks(b);
  const byBase = compareKeys(lower(baseA), lower(baseB), options.numeric);
  if (byBase !== 0 || options.sensitivity === 'base') return byBase;
  if (options.sensitivity !== 'case') {
    const markedA = normalizeOf(lower(a), 'NFD'), markedB = normalizeOf(lower(b), 'NFD');
    if (markedA !== markedB) return markedA < markedB ? -1 : 1;
    if (options.sensitivity === 'accent') return 0;
  }
  for (let i = 0; i < baseA.length && i < baseB.length; i++) {
    if (baseA[i] !== baseB[i]) return (baseA[i] === lower(baseA[i])) === (options.caseFirst !== 'upper') ? -1 : 1;
  }
  return 0;
};
const collatorOptions = (options, locale) => ({
  spanish: locale !== undefined && locale.language === 'es',
  sensitivity: optionWord(options, 'sensitivity', ['base', 'accent', 'case', 'variant'], 'variant'), numeric: !!options.numeric,
  caseFirst: optionWord(options, 'caseFirst', ['upper', 'lower', 'false'], 'false'), usage: 'sort',
});
const Collator = function Collator(locales, options = {}) {
  const locale = localeFrom(locales), resolved = collatorOptions(options, locale);
  const self = new.target ? this : objectCreate(Collator.prototype);
  defineProperty(self, 'compare', { value: (a, b) => compareText(NativeString(a), NativeString(b), resolved), enumerable: false });
  defineProperty(self, 'resolvedOptions', { value: () => ({ locale: locale.tag, ...resolved }), enumerable: false });
  return self;
};
Collator.supportedLocalesOf = (given) => supported(given);
const DEFAULT_ORDER = collatorOptions({});
defineProperty(String.prototype, 'localeCompare', {
  value: function localeCompare(other, locales, options) {
    if (locales === undefined && options === undefined) return compareText(NativeString(this), NativeString(other), DEFAULT_ORDER);
    return compareText(NativeString(this), NativeString(other), collatorOptions(options ?? {}, localeFrom(locales)));
  },
  writable: true, configurable: true,
});

const LIST_WORDS = { en: [', ', ' and ', ' or ', ','], de: [', ', ' und ', ' oder '], fr: [', ', ' et ', ' ou '], es: [', ', ' y ', ' o '], ja: ['、', '、', 'または'] };
class ListFormat {
  #locale; #type;
  constructor(locales, options = {}) { this.#locale = localeFrom(locales); this.#type = optionWord(options, 'type', ['conjunction', 'disjunction', 'unit'], 'conjunction'); }
  format(items) {
    const words = LIST_WORDS[this.#locale.language], all = [...items];
    const last = this.#type === 'conjunction' ? words[1] : this.#type === 'disjunction' ? words[2] : words[0];
    let text = '';
    for (let i = 0; i < all.length; i++) {
      const comma = i === all.length - 1 && all.length > 2 && words[3] && this.#type !== 'unit' && formOf(this.#locale) === 'en' ? words[3] : '';
      text += (i === 0 ? '' : i === all.length - 1 ? comma + last : words[0]) + all[i];
    }
    return text;
  }
  resolvedOptions() { return { locale: this.#locale.tag, type: this.#type, style: 'long' }; }
  static supportedLocalesOf(given) { return supported(given); }
}
const TIME_UNITS = {
  en: { year: ['year', 'years'], quarter: ['quarter', 'quarters'], month: ['month', 'months'], week: ['week', 'weeks'], day: ['day', 'days'], hour: ['hour', 'hours'], minute: ['minute', 'minutes'], second: ['second', 'seconds'] },
  de: { year: ['Jahr', 'Jahren'], quarter: ['Quartal', 'Quartalen'], month: ['Monat', 'Monaten'], week: ['Woche', 'Wochen'], day: ['Tag', 'Tagen'], hour: ['Stunde', 'Stunden'], minute: ['Minute', 'Minuten'], second: ['Sekunde', 'Sekunden'] },
  fr: { year: ['an', 'ans'], quarter: ['trimestre', 'trimestres'], month: ['mois', 'mois'], week: ['semaine', 'semaines'], day: ['jour', 'jours'], hour: ['heure', 'heures'], minute: ['minute', 'minutes'], second: ['seconde', 'secondes'] },
  es: { year: ['año', 'años'], quarter: ['trimestre', 'trimestres'], month: ['mes', 'meses'], week: ['semana', 'semanas'], day: ['día', 'días'], hour: ['hora', 'horas'], minute: ['minuto', 'minutos'], second: ['segundo', 'segundos'] },
  ja: { year: [' 年', ' 年'], quarter: [' 四半期', ' 四半期'], month: [' か月', ' か月'], week: [' 週間', ' 週間'], day: [' 日', ' 日'], hour: [' 時間', ' 時間'], minute: [' 分', ' 分'], second: [' 秒', ' 秒'] },
};
const NEAR = {
  en: { day: ['yesterday', 'today', 'tomorrow'], week: ['last week', 'this week', 'next week'], month: ['last month', 'this month', 'next month'], year: ['last year', 'this year', 'next year'] },
  de: { day: ['gestern', 'heute', 'morgen'], week: ['letzte Woche', 'diese Woche', 'nächste Woche'], month: ['letzten Monat', 'diesen Monat', 'nächsten Monat'], year: ['letztes Jahr', 'dieses Jahr', 'nächstes Jahr'] },
  fr: { day: ['hier', 'aujourd’hui', 'demain'], week: ['la semaine dernière', 'cette semaine', 'la semaine prochaine'], month: ['le mois dernier', 'ce mois-ci', 'le mois prochain'], year: ['l’année dernière', 'cette année', 'l’année prochaine'] },
  es: { day: ['ayer', 'hoy', 'mañana'], week: ['la semana pasada', 'esta semana', 'la próxima semana'], month: ['el mes pasado', 'este mes', 'el próximo mes'], year: ['el año pasado', 'este año', 'el próximo año'] },
  ja: { day: ['昨日', '今日', '明日'], week: ['先週', '今週', '来週'], month: ['先月', '今月', '来月'], year: ['昨年', '今年', '来年'] },
};
const RELATIVE = {
  en: (n, past) => (past ? n + ' ago' : 'in ' + n), de: (n, past) => (past ? 'vor ' : 'in ') + n, fr: (n, past) => (past ? 'il y a ' : 'dans ') + n,
  es: (n, past) => (past ? 'hace ' : 'dentro de ') + n, ja: (n, past) => n + (past ? '前' : '後'),
};
class RelativeTimeFormat {
  #locale; #numeric;
  constructor(locales, options = {}) { this.#locale = localeFrom(locales); this.#numeric = optionWord(options, 'numeric', ['always', 'auto'], 'always'); }
  format(value, unit) {
    const language = this.#locale.language, n = NativeNumber(value);
    const singular = replaceIn(NativeString(unit), /s$/, ''), words = TIME_UNITS[language][singular];
    if (words === undefined) throw new NativeRangeError(`Invalid unit argument for format() '${cut(NativeString(unit), 40)}'`);
    if (!finite(n)) throw new NativeRangeError('Invalid time value');
    const near = NEAR[language][singular];
    if (this.#numeric === 'auto' && near !== undefined && (n === -1 || n === 0 || n === 1)) return near[n + 1];
    const size = formatNumber(Math.abs(n), this.#locale, numberOptions({}));
    const word = PLURALS[language](Math.abs(n), isInteger(n)) === 'one' ? words[0] : words[1];
    return RELATIVE[language](language === 'ja' ? size + word : size + ' ' + word, n < 0 || same(n, -0));
  }
  resolvedOptions() { return { locale: this.#locale.tag, numeric: this.#numeric, style: 'long' }; }
  static supportedLocalesOf(given) { return supported(given); }
}
expose({ Intl: { NumberFormat, DateTimeFormat, PluralRules, Collator, ListFormat, RelativeTimeFormat, getCanonicalLocales: (given) => (given === undefined ? [] : typeof given === 'string' ? [localeFrom(given).tag] : [...given]) } });
