// Intl.DateTimeFormat for the same five languages. Time zones: UTC and fixed offsets; the history of the world's
// clocks is not carried, so any other zone is a RangeError rather than a wrong hour.
const names = (text) => splitAt(text, ' ');
LOCALES.en.dates = { months: names('January February March April May June July August September October November December'), short: names('Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'), days: names('Sunday Monday Tuesday Wednesday Thursday Friday Saturday'), shortDays: names('Sun Mon Tue Wed Thu Fri Sat') };
LOCALES.de.dates = { months: names('Januar Februar März April Mai Juni Juli August September Oktober November Dezember'), short: names('Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.'), alone: names('Jan Feb Mär Apr Mai Jun Jul Aug Sep Okt Nov Dez'), days: names('Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag'), shortDays: names('So. Mo. Di. Mi. Do. Fr. Sa.'), aloneDays: names('So Mo Di Mi Do Fr Sa') };
LOCALES.fr.dates = { months: names('janvier février mars avril mai juin juillet août septembre octobre novembre décembre'), short: names('janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.'), days: names('dimanche lundi mardi mercredi jeudi vendredi samedi'), shortDays: names('dim. lun. mar. mer. jeu. ven. sam.') };
LOCALES.es.dates = { months: names('enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre'), short: names('ene feb mar abr may jun jul ago sept oct nov dic'), days: names('domingo lunes martes miércoles jueves viernes sábado'), shortDays: names('dom lun mar mié jue vie sáb') };
LOCALES.ja.dates = { months: names('1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月'), short: names('1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月'), days: names('日曜日 月曜日 火曜日 水曜日 木曜日 金曜日 土曜日'), shortDays: names('日 月 火 水 木 金 土') };

const two = (value) => padStartOf(NativeString(value), 2, '0');
// Each: the pieces that were asked for (already text, or undefined) to the date in the language's order.
const numericDate = { 
  en: (p) => joined([p.month, p.day, p.year], '/'),
  'en-GB': (p) => joined([p.day, p.month, p.year], '/'),
  de: (p) => (p.year === undefined ? (p.month === undefined ? p.day : p.day === undefined ? p.month : `${p.day}.${p.month}.`) : joined([p.day, p.month, p.year], p.day === undefined ? '/' : '.')),
  fr: (p) => joined([p.day, p.month, p.year], '/'),
  es: (p) => joined([p.day, p.month, p.year], '/'),
  ja: (p) => (p.year === undefined && p.day === undefined ? p.month + '月' : p.year === undefined && p.month === undefined ? p.day + '日' : p.month === undefined && p.day === undefined ? p.year + '年' : joined([p.year, p.month, p.day], '/')),
};
const joined = (pieces, mark) => {
  let text = '';
  for (let i = 0; i < pieces.length; i++) if (pieces[i] !== undefined) text += (text === '' ? '' : mark) + pieces[i];
  return text;
};
const textDate = {
  en: (p) => { const day = joined([p.month, p.day], ' '); return p.day === undefined ? joined([day, p.year], ' ') : joined([day, p.year], ', '); },
  'en-GB': (p) => joined([p.day, p.month, p.year], ' '),
  de: (p) => joined([p.day === undefined ? undefined : p.day + '.', p.month, p.year], ' '),
  fr: (p) => joined([p.day, p.month, p.year], ' '),
  es: (p) => joined([p.day, p.month, p.year], p.long ? ' de ' : ' '),
  ja: (p) => joined([p.year === undefined ? undefined : p.year + '年', p.month, p.day === undefined ? undefined : p.day + '日'], ''),
};
const withWeekday = {
  en: (w, d) => w + ', ' + d, 'en-GB': (w, d, numeric, long) => w + (long || numeric ? ', ' : ' ') + d, de: (w, d) => w + ', ' + d,
  fr: (w, d) => w + ' ' + d, es: (w, d) => w + ', ' + d, ja: (w, d, numeric, long) => (long ? d + w : d + '(' + w + ')'),
};
const dateTimeMark = { en: ', ', 'en-GB': ', ', de: ', ', fr: ' ', es: ', ', ja: ' ' };
const styledMark = { en: ' at ', 'en-GB': ' at ', de: ' um ', fr: ' à ', es: ' a las ', ja: ' ' };
const DATE_STYLES = {
  full: { weekday: 'long', year: 'numeric', month: 'long', day: 'numeric' }, long: { year: 'numeric', month: 'long', day: 'numeric' },
  medium: { year: 'numeric', month: 'short', day: 'numeric' }, short: { year: '2-digit', month: 'numeric', day: 'numeric' },
};
const TWO_DIGIT_SHORT = { de: true, fr: true, 'en-GB': true, ja: true };
const zoneOf = (given) => {
  if (given === undefined) return { name: 'UTC', minutes: 0 };
  const text = NativeString(given);
  if (testOf(/^(utc|gmt|etc\/(utc|gmt|uct|zulu)|uct|zulu|z)$/i, text)) return { name: 'UTC', minutes: 0 };
  const offset = matches(/^([+-])(\d{2})(?::?(\d{2}))?$/, text);
  if (offset && offset[2] < 24 && (offset[3] ?? 0) < 60) {
    return { name: `${offset[1]}${offset[2]}:${offset[3] ?? '00'}`, minutes: (offset[1] === '-' ? -1 : 1) * (offset[2] * 60 + NativeNumber(offset[3] ?? 0)) };
  }
  const etc = matches(/^Etc\/GMT([+-])(\d{1,2})$/i, text);
  if (etc && etc[2] <= 14) return { name: text, minutes: (etc[1] === '-' ? 1 : -1) * etc[2] * 60 };
  throw new NativeRangeError(`the time zone ${cut(text, 60)} is not available here: UTC and fixed offsets such as "+02:00" are`);
};
const FIELDS = ['weekday', 'era', 'year', 'month', 'day', 'dayPeriod', 'hour', 'minute', 'second', 'fractionalSecondDigits'];
const dateOptions = (given, needs, fallback) => {
  const options = {};
  for (const name of FIELDS) if (given[name] !== undefined) options[name] = given[name];
  optionWord(options, 'month', ['numeric', '2-digit', 'long', 'short', 'narrow'], undefined);
  for (const name of ['year', 'day', 'hour', 'minute', 'second']) optionWord(options, name, ['numeric', '2-digit'], undefined);
  optionWord(options, 'weekday', ['long', 'short', 'narrow'], undefined);
  options.dateStyle = optionWord(given, 'dateStyle', ['full', 'long', 'medium', 'short'], undefined);
  options.timeStyle = optionWord(given, 'timeStyle', ['full', 'long', 'medium', 'short'], undefined);
  options.timeZoneName = given.timeZoneName;
  options.zone = zoneOf(given.timeZone);
  options.hour12 = given.hour12 ?? (given.hourCycle === undefined ? undefined : given.hourCycle === 'h12' || given.hourCycle === 'h11');
  const styled = options.dateStyle !== undefined || options.timeStyle !== undefined;
  let some = styled;
  for (const name of FIELDS) {
    if (options[name] === undefined) continue;
    if (styled) throw new NativeTypeError(`Can't set option ${name} when ${options.dateStyle ? 'dateStyle' : 'timeStyle'} is used`);
    const isTime = name === 'hour' || name === 'minute' || name === 'second' || name === 'dayPeriod' || name === 'fractionalSecondDigits';
    if (needs === 'any' || (needs === 'date') === !isTime) some = true;
  }
  if (!some) {
    if (fallback !== 'time') options.year = options.month = options.day = 'numeric';
    if (fallback !== 'date') options.hour = options.minute = options.second = 'numeric';
  }
  return options;
};
const styleOptions = (options, form) => {
  if (options.dateStyle === undefined && options.timeStyle === undefined) return options;
  const made = { zone: options.zone, hour12: options.hour12, styled: options.dateStyle };
  if (options.dateStyle) {
    for (const name of objectKeys(DATE_STYLES[options.dateStyle])) made[name] = DATE_STYLES[options.dateStyle][name];
    if (options.dateStyle === 'short' && TWO_DIGIT_SHORT[form]) { made.month = made.day = '2-digit'; if (form === 'fr' || form === 'en-GB' || form === 'ja') made.year = 'numeric'; }
    if (options.dateStyle === 'medium' && (form === 'de' || form === 'ja')) made.month = made.day = '2-digit';
  }
  if (options.timeStyle) {
    made.hour = 'numeric';
    made.minute = '2-digit';
    if (options.timeStyle !== 'short') made.second = '2-digit';
    if (options.timeStyle === 'full' || options.timeStyle === 'long') made.timeZoneName = 'short';
  }
  return made;
};
const datePieces = (at, options, data, form) => {
  const dates = data.dates, pieces = {};
  const textual = options.month === 'long' || options.month === 'short' || options.month === 'narrow';
  const padded = (value, mode, always) => (mode === undefined ? undefined : mode === '2-digit' || always ? two(value) : NativeString(value));
  const year = at.getUTCFullYear();
  if (options.year !== undefined) pieces.year = options.year === '2-digit' ? two(((year % 100) + 100) % 100) : NativeString(year);
  const wide = !textual && (form === 'fr' || form === 'en-GB') && options.month !== undefined && (options.day !== undefined || options.year !== undefined);
  pieces.day = padded(at.getUTCDate(), options.day, wide && options.month !== undefined);
  if (textual) {
    const short = options.month !== 'long';
    const alone = options.day === undefined && options.year === undefined && dates.alone;
    pieces.month = options.month === 'narrow' ? dates.months[at.getUTCMonth()][0] : short ? (alone ? dates.alone : dates.short)[at.getUTCMonth()] : dates.months[at.getUTCMonth()];
    pieces.long = !short;
  } else pieces.month = padded(at.getUTCMonth() + 1, options.month, wide);
  if (form === 'en-GB' && pieces.month === 'Sep') pieces.month = 'Sept';
  return { pieces, textual };
};
const dateText = (at, options, data, form) => {
  const { pieces, textual } = datePieces(at, options, data, form);
  let text = pieces.year === undefined && pieces.month === undefined && pieces.day === undefined ? '' : (textual ? textDate : numericDate)[form](pieces);
  if (options.weekday !== undefined) {
    const long = options.weekday === 'long', dates = data.dates, day = at.getUTCDay();
    const weekday = long ? dates.days[day] : options.weekday === 'narrow' ? dates.days[day][0] : (text === '' && dates.aloneDays ? dates.aloneDays : dates.shortDays)[day];
    text = text === '' ? weekday : withWeekday[form](weekday, text, !textual, long);
  }
  return text;
};
const timeText = (at, options, form) => {
  if (options.hour === undefined && options.minute === undefined && options.second === undefined) return '';
  const half = options.hour12 ?? form === 'en';
  const hour = at.getUTCHours();
  let text = '';
  if (options.hour !== undefined) {
    const shown = half ? (form === 'ja' ? hour % 12 : hour % 12 || 12) : hour;
    const wide = options.hour === '2-digit' || (!half && form !== 'es' && form !== 'ja' && (options.hour12 !== false || form === 'en'));
    text = wide ? two(shown) : NativeString(shown);
  }
  if (options.minute !== undefined) text += (text === '' ? '' : ':') + (text === '' && options.second === undefined ? NativeString(at.getUTCMinutes()) : two(at.getUTCMinutes()));
  if (options.second !== undefined) text += (text === '' ? '' : ':') + (text === '' ? NativeString(at.getUTCSeconds()) : two(at.getUTCSeconds()));
  if (options.fractionalSecondDigits !== undefined) text += (form === 'en' || form === 'en-GB' || form === 'ja' ? '.' : ',') + slice(padStartOf(NativeString(at.getUTCMilliseconds()), 3, '0'), 0, NativeNumber(options.fractionalSecondDigits));
  if (options.hour !== undefined) {
    const only = options.minute === undefined && options.second === undefined;
    if (half) text = form === 'ja' ? (hour < 12 ? '午前' : '午後') + text : text + ' ' + (form === 'en-GB' ? (hour < 12 ? 'am' : 'pm') : form === 'es' ? (hour < 12 ? 'a. m.' : 'p. m.') : hour < 12 ? 'AM' : 'PM');
    if (only && !half) text += form === 'de' ? ' Uhr' : form === 'fr' ? ' h' : form === 'ja' ? '時' : '';
    else if (only && form === 'ja') text += '時';
  }
  return text;
};
const formOf = (locale) => (locale.language === 'en' && locale.region !== '' && locale.region !== 'US' ? 'en-GB' : locale.language);
const formatDate = (value, locale, given) => {
  const time = value === undefined ? dateNow() : NativeNumber(value);
  if (!finite(time)) throw new NativeRangeError('Invalid time value');
  const form = formOf(locale), options = styleOptions(given, form), data = LOCALES[locale.language];
  const at = new NativeDate(time + given.zone.minutes * 60000);
  const date = dateText(at, options, data, form);
  let clock = timeText(at, options, form);
  if (options.timeZoneName !== undefined) {
    const { minutes } = given.zone;
    const shown = minutes === 0 ? (options.timeZoneName === 'long' && form === 'en' ? 'Coordinated Universal Time' : 'UTC') : `GMT${minutes < 0 ? '-' : '+'}${floor(Math.abs(minutes) / 60)}${minutes % 60 ? ':' + two(Math.abs(minutes) % 60) : ''}`;
    if (clock === '') return joined([date, shown], dateTimeMark[form]);
    clock += ' ' + shown;
  }
  if (date === '' || clock === '') return date + clock;
  const wide = options.styled === 'full' || options.styled === 'long' || (options.styled === undefined && options.month === 'long');
  const shortMonth = form === 'fr' && (options.month === 'short' || options.styled === 'medium');
  return date + (wide ? styledMark[form] : shortMonth ? ', ' : dateTimeMark[form]) + clock;
};
const DateTimeFormat = function DateTimeFormat(locales, given = {}) {
  const locale = localeFrom(locales), options = dateOptions(given, 'any', 'date');
  const self = new.target ? this : objectCreate(DateTimeFormat.prototype);
  defineProperty(self, 'format', { value: (value) => formatDate(value, locale, options), enumerable: false });
  defineProperty(self, 'resolvedOptions', { value: () => {
    const shown = { locale: locale.tag, calendar: 'gregory', numberingSystem: 'latn', timeZone: options.zone.name };
    for (const name of objectKeys(options)) if (name !== 'zone' && options[name] !== undefined) shown[name] = options[name];
    return shown;
  } });
  return self;
};
DateTimeFormat.prototype.formatToParts = function formatToParts(value) {
  const options = this.resolvedOptions(), parts = [];
  const at = new NativeDate((value === undefined ? dateNow() : NativeNumber(value)) + zoneOf(options.timeZone).minutes * 60000);
  const hour = at.getUTCHours();
  const order = [['year', at.getUTCFullYear()], ['month', at.getUTCMonth() + 1], ['day', at.getUTCDate()], ['hour', hour], ['hour', hour % 12 || 12], ['minute', at.getUTCMinutes()], ['second', at.getUTCSeconds()]];
  const used = objectCreate(null);
  replaceIn(this.format(value), /\d+|[^\d]+/g, (piece) => {
    let type = 'literal';
    if (testOf(/^\d+$/, piece)) {
      for (let i = 0; i < order.length && type === 'literal'; i++) {
        if (!used[order[i][0]] && (NativeNumber(piece) === order[i][1] || (order[i][0] === 'year' && NativeNumber(piece) === order[i][1] % 100))) { type = fieldOf(order, i, piece, options, used); }
      }
    } else if (testOf(/^\s?[AP]M$/i, piece)) type = 'dayPeriod';
    else if (testOf(/[^\s\p{P}]/u, piece)) return pushWords(parts, piece, options);
    pushOf(parts, { type, value: piece });
    return '';
  });
  return parts;
};
// Two fields can show the same number: take the first in the locale's own order that was asked for.
const fieldOf = (order, i, piece, options, used) => {
  const month = options.month, numeric = options.dateStyle === 'short' || month === 'numeric' || month === '2-digit' || (month === undefined && options.year === undefined && options.dateStyle === undefined);
  const first = formOf(localeFrom(options.locale)) === 'en' ? ['month', 'day', 'year'] : formOf(localeFrom(options.locale)) === 'ja' ? ['year', 'month', 'day'] : ['day', 'month', 'year'];
  const dated = options.year !== undefined || month !== undefined || options.day !== undefined || options.dateStyle !== undefined;
  if (dated) {
    for (let k = 0; k < 3; k++) {
      const name = first[k];
      if (used[name] || (name === 'month' && !numeric)) continue;
      if (options[name] === undefined && options.dateStyle === undefined) continue;
      for (let n = 0; n < 3; n++) if (order[n][0] === name && (order[n][1] === NativeNumber(piece) || (name === 'year' && order[n][1] % 100 === NativeNumber(piece)))) { used[name] = true; return name; }
      break;
    }
  }
  used[order[i][0]] = true;
  return order[i][0];
};
const pushWords = (parts, piece, options) => {
  replaceIn(piece, /[\p{L}.]+|[^\p{L}]+/gu, (word) => {
    const isWord = testOf(/\p{L}/u, word);
    const dates = LOCALES[slice(options.locale, 0, 2)].dates;
    const among = (list) => { for (let i = 0; list && i < list.length; i++) if (list[i] === word) return true; return false; };
    pushOf(parts, { type: !isWord ? 'literal' : among(dates.days) || among(dates.shortDays) ? 'weekday' : among(dates.months) || among(dates.short) ? 'month' : testOf(/^[AP]M$/i, word) ? 'dayPeriod' : word === 'UTC' ? 'timeZoneName' : 'literal', value: word });
    return '';
  });
  return '';
};
DateTimeFormat.prototype.formatRange = function formatRange(from, to) {
  const a = this.format(from), b = this.format(to);
  return a === b ? a : a + ' – ' + b;
};
DateTimeFormat.supportedLocalesOf = (given) => supported(given);
const dateMethod = (name, needs, fallback) => defineProperty(NativeDate.prototype, name, {
  value: { [name](locales, options) { const time = timeOf(this); return finite(time) ? formatDate(time, localeFrom(locales), dateOptions(options ?? {}, needs, fallback)) : 'Invalid Date'; } }[name],
  writable: true, configurable: true,
});
dateMethod('toLocaleString', 'any', 'both');
dateMethod('toLocaleDateString', 'date', 'date');
dateMethod('toLocaleTimeString', 'time', 'time');
