// Intl.NumberFormat and Intl.PluralRules for English, German, French, Spanish and Japanese. Another locale falls
// back to English, visibly: resolvedOptions().locale says so and one warning is logged.
const LOCALES = objectCreate(null);
const NNBSP = '\u202f', NBSP = '\u00a0';
LOCALES.en = { group: ',', point: '.', percent: '%', currency: (n, s) => (testOf(/[A-Za-z]$/, s) ? s + NBSP + n : s + n), symbols: { USD: '$', EUR: '€', GBP: '£', JPY: '¥', CNY: 'CN¥', INR: '₹', KRW: '₩', BRL: 'R$', CAD: 'CA$', AUD: 'A$', MXN: 'MX$' }, compact: [[1e12, 'T'], [1e9, 'B'], [1e6, 'M'], [1e3, 'K']] };
LOCALES.de = { group: '.', point: ',', percent: NBSP + '%', currency: (n, s) => n + NBSP + s, symbols: { USD: '$', EUR: '€', GBP: '£', JPY: '¥', CNY: 'CN¥', INR: '₹', KRW: '₩', BRL: 'R$', CAD: 'CA$', AUD: 'AU$', MXN: 'MX$' }, compact: [[1e12, NBSP + 'Bio.'], [1e9, NBSP + 'Mrd.'], [1e6, NBSP + 'Mio.']] };
LOCALES.fr = { group: NNBSP, point: ',', percent: NBSP + '%', currency: (n, s) => n + NBSP + s, symbols: { USD: '$US', EUR: '€', GBP: '£GB', JPY: 'JPY', CNY: 'CN¥', INR: '₹', KRW: '₩', BRL: 'R$', CAD: '$CA', AUD: '$AU', MXN: '$MX' }, compact: [[1e12, NBSP + 'Bn'], [1e9, NBSP + 'Md'], [1e6, NBSP + 'M'], [1e3, NBSP + 'k']] };
LOCALES.es = { group: '.', point: ',', percent: NBSP + '%', currency: (n, s) => n + NBSP + s, symbols: { USD: 'US$', EUR: '€', GBP: 'GBP', JPY: 'JPY', CNY: 'CNY', INR: 'INR', KRW: 'KRW', BRL: 'BRL', CAD: 'CAD', AUD: 'AUD', MXN: 'MXN' }, leastGroup: 2, compact: [[1e12, NBSP + 'B'], [1e9, '000' + NBSP + 'M', 1e6], [1e6, NBSP + 'M'], [1e3, NBSP + 'mil']] };
LOCALES.ja = { group: ',', point: '.', percent: '%', currency: (n, s) => (testOf(/[A-Za-z]$/, s) ? s + NBSP + n : s + n), symbols: { USD: '$', EUR: '€', GBP: '£', JPY: '￥', CNY: '元', INR: '₹', KRW: '₩', BRL: 'R$', CAD: 'CA$', AUD: 'A$', MXN: 'MX$' }, compact: [[1e12, '兆'], [1e8, '億'], [1e4, '万']] };
const NO_MINOR = objectCreate(null);
for (const code of ['JPY', 'KRW', 'VND', 'CLP', 'ISK', 'PYG', 'UGX', 'XAF', 'XOF', 'XPF', 'RWF', 'KMF', 'GNF', 'DJF', 'BIF', 'VUV']) NO_MINOR[code] = true;

const localeWarned = objectCreate(null);
const localeFrom = (given) => {
  const asked = given === undefined ? ['en-US'] : typeof given === 'string' ? [given] : given;
  for (let i = 0; i < asked.length; i++) {
    const tag = NativeString(asked[i]);
    const parts = matches(/^([A-Za-z]{2,8})(?:[-_][A-Za-z]{4})?(?:[-_]([A-Za-z]{2}|\d{3}))?(?:[-_].*)?$/, tag);
    if (parts === null) throw new NativeRangeError(`Incorrect locale information provided: ${cut(tag, 40)}`);
    const language = lower(parts[1]);
    if (LOCALES[language]) return { language, region: parts[2] ? upper(parts[2]) : '', tag: parts[2] ? language + '-' + upper(parts[2]) : language };
  }
  const missed = asked.length ? cut(NativeString(asked[0]), 40) : 'en';
  if (asked.length && !localeWarned[missed]) {
    localeWarned[missed] = true;
    emit('warn', `the locale ${missed} is not available; en, de, fr, es and ja are, and en is used`);
  }
  return { language: 'en', region: '', tag: 'en' };
};
const upper = uncurried(String.prototype.toUpperCase), padStartOf = uncurried(String.prototype.padStart), padEndOf = uncurried(String.prototype.padEnd);
const repeatOf = uncurried(String.prototype.repeat);

// The decimal digits of a finite number: { negative, digits, exponent } with value 0.digits × 10^exponent.
const decimalOf = (value) => {
  const text = typeof value === 'bigint' ? NativeString(value) : numberText(value);
  const parts = matches(/^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/, text);
  const digits = replaceIn(parts[2] + (parts[3] || ''), /^0+/, '');
  const dropped = (parts[2] + (parts[3] || '')).length - digits.length;
  return { negative: parts[1] === '-' || same(value, -0), digits, exponent: digits === '' ? 0 : parts[2].length - dropped + NativeNumber(parts[4] || 0) };
};
// Keep `count` digits, rounding half away from zero.
const roundDigits = (number, count) => {
  if (count >= number.digits.length) return number;
  if (count < 0) return { negative: number.negative, digits: '', exponent: 0 };
  const up = charCode(number.digits, count) >= 53;
  let digits = slice(number.digits, 0, count), exponent = number.exponent;
  if (up) {
    let i = count - 1, tail = '';
    while (i >= 0 && digits[i] === '9') { tail += '0'; i--; }
    if (i < 0) { digits = '1' + tail; exponent++; } else digits = slice(digits, 0, i) + fromCodes(charCode(digits, i) + 1) + tail;
  }
  digits = replaceIn(digits, /0+$/, '');
  return { negative: number.negative, digits, exponent: digits === '' ? 0 : exponent };
};
const wholeAndPart = (number) => {
  const { digits, exponent } = number;
  if (exponent <= 0) return ['0', digits === '' ? '' : repeatOf('0', -exponent) + digits];
  return [padEndOf(slice(digits, 0, exponent), exponent, '0'), slice(digits, exponent)];
};
const grouped = (whole, data, mode) => {
  const least = data.leastGroup || 1;
  if (mode === false || whole.length < 3 + (mode === 'always' ? 1 : least)) return whole;
  return replaceIn(whole, /\B(?=(\d{3})+$)/g, data.group);
};
const optionNumber = (options, name, low, high) => {
  const value = options[name];
  if (value === undefined) return undefined;
  const number = NativeNumber(value);
  if (!(number >= low && number <= high)) throw new NativeRangeError(`${name} value is out of range.`);
  return floor(number);
};
const optionWord = (options, name, words, fallback) => {
  const value = options[name];
  if (value === undefined) return fallback;
  for (let i = 0; i < words.length; i++) if (words[i] === value) return value;
  throw new NativeRangeError(`Value ${cut(NativeString(value), 40)} out of range for Intl options property ${name}`);
};
const UNITS = objectCreate(null);
UNITS.kilometer = ' km'; UNITS.meter = ' m'; UNITS.centimeter = ' cm'; UNITS.millimeter = ' mm'; UNITS.kilogram = ' kg'; UNITS.gram = ' g'; UNITS.liter = ' L';
UNITS.byte = ' byte'; UNITS.kilobyte = ' kB'; UNITS.megabyte = ' MB'; UNITS.gigabyte = ' GB'; UNITS.terabyte = ' TB'; UNITS.percent = '%'; UNITS.celsius = '°C'; UNITS.second = ' sec'; UNITS.minute = ' min'; UNITS.hour = ' hr';
UNITS['kilometer-per-hour'] = ' km/h';

const numberOptions = (options) => {
  const style = optionWord(options, 'style', ['decimal', 'percent', 'currency', 'unit'], 'decimal');
  const resolved = {
    style, notation: optionWord(options, 'notation', ['standard', 'compact', 'scientific', 'engineering'], 'standard'),
    signDisplay: optionWord(options, 'signDisplay', ['auto', 'never', 'always', 'exceptZero', 'negative'], 'auto'),
    currencyDisplay: optionWord(options, 'currencyDisplay', ['symbol', 'narrowSymbol', 'code', 'name'], 'symbol'),
    currencySign: optionWord(options, 'currencySign', ['standard', 'accounting'], 'standard'),
    minimumIntegerDigits: optionNumber(options, 'minimumIntegerDigits', 1, 21) ?? 1,
  };
  if (resolved.notation === 'scientific' || resolved.notation === 'engineering') throw new NativeRangeError('the notations scientific and engineering are not available here');
  if (style === 'currency') {
    if (options.currency === undefined) throw new NativeTypeError('Currency code is required with currency style.');
    resolved.currency = upper(NativeString(options.currency));
    if (!testOf(/^[A-Z]{3}$/, resolved.currency)) throw new NativeRangeError(`Invalid currency code : ${cut(resolved.currency, 20)}`);
  }
  if (style === 'unit') {
    resolved.unit = NativeString(options.unit);
    if (UNITS[resolved.unit] === undefined) throw new NativeRangeError(`the unit ${cut(resolved.unit, 40)} is not available here`);
  }
  const grouping = options.useGrouping;
  resolved.useGrouping = grouping === false || grouping === 'false' ? false : grouping === 'always' ? 'always' : resolved.notation === 'compact' && grouping === undefined ? 'min2' : 'auto';
  resolved.maximumSignificantDigits = optionNumber(options, 'maximumSignificantDigits', 1, 21);
  resolved.minimumSignificantDigits = optionNumber(options, 'minimumSignificantDigits', 1, resolved.maximumSignificantDigits ?? 21);
  const cash = style === 'currency' ? (NO_MINOR[resolved.currency] ? 0 : 2) : undefined;
  const least = optionNumber(options, 'minimumFractionDigits', 0, 100), most = optionNumber(options, 'maximumFractionDigits', 0, 100);
  if (least !== undefined && most !== undefined && least > most) throw new NativeRangeError('maximumFractionDigits value is out of range.');
  const usual = cash ?? 0, usualMost = cash ?? (style === 'percent' ? 0 : 3);
  resolved.minimumFractionDigits = least ?? min(usual, most ?? usual);
  resolved.maximumFractionDigits = most ?? max(usualMost, resolved.minimumFractionDigits);
  resolved.roundedCompact = resolved.notation === 'compact' && least === undefined && most === undefined && resolved.maximumSignificantDigits === undefined && resolved.minimumSignificantDigits === undefined;
  return resolved;
};
const digitsText = (number, options, data) => {
  const { minimumSignificantDigits: least, maximumSignificantDigits: most } = options;
  let rounded, shortest;
  if (options.roundedCompact) {
    rounded = number.exponent >= 2 ? roundDigits(number, number.exponent) : roundDigits(number, 2);
    shortest = 0;
  } else if (least !== undefined || most !== undefined) {
    rounded = roundDigits(number, most ?? 21);
    shortest = max(0, (least ?? 1) - max(rounded.exponent, rounded.digits === '' ? 1 : rounded.exponent));
  } else {
    rounded = roundDigits(number, number.exponent + options.maximumFractionDigits);
    shortest = options.minimumFractionDigits;
  }
  const parts = wholeAndPart(rounded);
  const whole = grouped(padStartOf(parts[0], options.minimumIntegerDigits, '0'), options.useGrouping === 'min2' ? { group: data.group, leastGroup: 2 } : data, options.useGrouping);
  const part = padEndOf(parts[1], shortest, '0');
  return { text: part === '' ? whole : whole + data.point + part, zero: rounded.digits === '' };
};
const scaled = (number, power) => (number.digits === '' ? number : { negative: number.negative, digits: number.digits, exponent: number.exponent + power });
const powerOf = (size) => numberText(size).length - 1;
// The first size that the number, rounded as the next smaller size would show it, still reaches.
const compactOf = (number, data, options) => {
  for (let i = 0; i < data.compact.length; i++) {
    const [size, mark, by] = data.compact[i];
    const below = i + 1 < data.compact.length ? powerOf(data.compact[i + 1][2] ?? data.compact[i + 1][0]) : 0;
    const kept = number.exponent - below;
    const shown = roundDigits(number, options.roundedCompact ? max(2, kept) : kept + options.maximumFractionDigits);
    if (number.digits !== '' && shown.exponent > powerOf(size)) return [scaled(number, -powerOf(by ?? size)), by ? slice(mark, 3) : mark];
  }
  return [number, ''];
};
const currencyText = (text, options, data, british) => {
  const { currency, currencyDisplay } = options;
  if (currencyDisplay === 'name') return text + ' ' + currency;
  const abroad = data === LOCALES.en && british && (currency === 'USD' ? 'US$' : currency === 'JPY' ? 'JP¥' : undefined);
  const symbol = currencyDisplay === 'code' ? currency : abroad && currencyDisplay === 'symbol' ? abroad : currencyDisplay === 'narrowSymbol' ? LOCALES.en.symbols[currency] ?? currency : data.symbols[currency] ?? currency;
  return data.currency(text, currencyDisplay === 'narrowSymbol' ? replaceIn(symbol, /^[A-Z]+(?=\W$)/, '') : symbol);
};
const formatNumber = (value, locale, options) => {
  const data = LOCALES[locale.language];
  if (typeof value !== 'bigint') value = typeof value === 'string' && testOf(/^-?\d+$/, value) ? BigIntOf(value) : NativeNumber(value);
  const special = typeof value === 'number' && !finite(value);
  let number = special ? { negative: value < 0, digits: '1', exponent: 1 } : decimalOf(value), mark = '', shown;
  if (options.style === 'percent') number = scaled(number, 2);
  if (options.notation === 'compact' && !special) [number, mark] = compactOf(number, data, options);
  if (special) shown = { text: value !== value ? 'NaN' : '∞', zero: false };
  else shown = digitsText(number, options, data);
  let text = shown.text + (mark === 'K' && formOf(locale) === 'en-GB' ? 'k' : mark);
  if (options.style === 'percent') text += data.percent;
  else if (options.style === 'unit') text += options.unit === 'byte' && text !== '1' ? ' byte' : UNITS[options.unit];
  else if (options.style === 'currency') text = currencyText(text, options, data, formOf(locale) === 'en-GB');
  const mode = options.signDisplay;
  const negative = number.negative && mode !== 'never' && !(shown.zero && (mode === 'exceptZero' || mode === 'negative'));
  if (negative && options.currencySign === 'accounting' && locale.language === 'en') return '(' + text + ')';
  if (negative) return '-' + text;
  return mode === 'always' || (mode === 'exceptZero' && !shown.zero) ? '+' + text : text;
};
const BigIntOf = BigInt;
const NumberFormat = function NumberFormat(locales, options = {}) {
  const locale = localeFrom(locales), resolved = numberOptions(options);
  const self = new.target ? this : objectCreate(NumberFormat.prototype);
  defineProperty(self, 'format', { value: (value) => formatNumber(value, locale, resolved), enumerable: false });
  defineProperty(self, 'resolvedOptions', { value: () => {
    const shown = { locale: locale.tag, numberingSystem: 'latn' };
    for (const name of objectKeys(resolved)) if (resolved[name] !== undefined && name !== 'roundedCompact' && !(indexOf(name, 'currency') === 0 && resolved.style !== 'currency')) shown[name] = resolved[name];
    return shown;
  } });
  return self;
};
NumberFormat.prototype.formatToParts = function formatToParts(value) {
  const parts = [];
  const data = LOCALES[slice(this.resolvedOptions().locale, 0, 2)];
  const kinds = (piece) => (testOf(/^\d+$/, piece) ? 'integer' : piece === data.point ? 'decimal' : piece === data.group ? 'group' : piece === '-' ? 'minusSign' : piece === '+' ? 'plusSign' : piece === '%' ? 'percentSign' : testOf(/^\s+$/, piece) ? 'literal' : 'currency');
  let point = false;
  replaceIn(this.format(value), /\d+|\s+|[-+]|[^\d\s+-]+/g, (piece) => {
    let type = kinds(piece);
    if (type === 'decimal') point = true; else if (type === 'integer' && point) type = 'fraction';
    pushOf(parts, { type, value: piece });
    return '';
  });
  return parts;
};
NumberFormat.prototype.formatRange = function formatRange(from, to) { return this.format(from) + '–' + this.format(to); };
NumberFormat.supportedLocalesOf = (given) => supported(given);
const supported = (given) => {
  const found = [], asked = typeof given === 'string' ? [given] : given ?? [];
  for (let i = 0; i < asked.length; i++) if (LOCALES[lower(slice(NativeString(asked[i]), 0, 2))]) pushOf(found, NativeString(asked[i]));
  return found;
};

const PLURALS = objectCreate(null);
PLURALS.en = (n, whole) => (n === 1 && whole ? 'one' : 'other');
PLURALS.de = PLURALS.en;
PLURALS.fr = (n) => (n >= 0 && n < 2 ? 'one' : n !== 0 && n % 1000000 === 0 ? 'many' : 'other');
PLURALS.es = (n) => (n === 1 ? 'one' : n !== 0 && n % 1000000 === 0 ? 'many' : 'other');
PLURALS.ja = () => 'other';
const ORDINALS = objectCreate(null);
ORDINALS.en = (n) => (n % 10 === 1 && n % 100 !== 11 ? 'one' : n % 10 === 2 && n % 100 !== 12 ? 'two' : n % 10 === 3 && n % 100 !== 13 ? 'few' : 'other');
ORDINALS.fr = (n) => (n === 1 ? 'one' : 'other');
class PluralRules {
  #locale; #type;
  constructor(locales, options = {}) { this.#locale = localeFrom(locales); this.#type = optionWord(options, 'type', ['cardinal', 'ordinal'], 'cardinal'); }
  select(value) {
    const n = Math.abs(NativeNumber(value)), language = this.#locale.language;
    if (!finite(n)) return 'other';
    if (this.#type === 'ordinal') return ORDINALS[language] ? ORDINALS[language](n) : 'other';
    return PLURALS[language](n, isInteger(n));
  }
  resolvedOptions() { return { locale: this.#locale.tag, type: this.#type }; }
  static supportedLocalesOf(given) { return supported(given); }
}
for (const type of [Number, BigInt]) {
  defineProperty(type.prototype, 'toLocaleString', {
    value: function toLocaleString(locales, options) { return formatNumber(type === NativeNumber ? NativeNumber(this) : this.valueOf(), localeFrom(locales), numberOptions(options ?? {})); },
    writable: true, configurable: true,
  });
}
