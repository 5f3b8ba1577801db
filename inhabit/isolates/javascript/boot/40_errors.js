// Stack traces that show the program's own lines only, and advice where a platform's global is missed.
// The interpreter asks `Error.prepareStackTrace` for every error it makes, its own included.
const PROGRAM_FILE = 'program.ts', PREFIX_LENGTH = 14; // what stands before the program on its first line
const ADVICE = objectCreate(null);
ADVICE.fetch = 'programs reach the network only through capabilities, for example `await http.fetch({ url })` where http is granted';
ADVICE.XMLHttpRequest = ADVICE.WebSocket = ADVICE.EventSource = ADVICE.axios = ADVICE.fetch;
ADVICE.require = ADVICE.module = ADVICE.exports = 'programs cannot load modules: capabilities and the usual globals are there without it';
ADVICE.process = ADVICE.Deno = ADVICE.Bun = 'a program has no process, environment or files: what it needs comes as `input` or from a capability';
ADVICE.__dirname = ADVICE.__filename = ADVICE.process;
ADVICE.Buffer = 'use Uint8Array with TextEncoder, TextDecoder, btoa and atob';
ADVICE.document = ADVICE.window = ADVICE.localStorage = ADVICE.sessionStorage = ADVICE.navigator = 'there is no browser here';
ADVICE.alert = ADVICE.prompt = ADVICE.confirm = 'there is nobody to ask: return a value or use console.log';
ADVICE.Temporal = 'use Date, or Intl.DateTimeFormat for text';

const NOT_DEFINED = /^([A-Za-z_$][\w$]*) is not defined$/;
const NO_MODULE = /^could not load module/;
const NativeReferenceError = ReferenceError;
const advise = (error) => {
  const { message } = error;
  if (typeof message !== 'string' || message.length > 200) return;
  const missed = matches(NOT_DEFINED, message);
  const advice = missed ? ADVICE[missed[1]] : matches(NO_MODULE, message) ? ADVICE.require : undefined;
  if (advice !== undefined) {
    const descriptor = objectCreate(null);
    descriptor.value = message + ': ' + advice;
    defineProperty(error, 'message', descriptor);
  }
};

Error.prepareStackTrace = (_error, frames) => frames;
const frameType = getPrototypeOf(new Error('').stack[0]);
const frameFile = uncurried(frameType.getFileName), frameFunction = uncurried(frameType.getFunctionName);
const frameLine = uncurried(frameType.getLineNumber), frameColumn = uncurried(frameType.getColumnNumber);
const describeFrame = (frame) => {
  const file = frameFile(frame), name = frameFunction(frame) || '';
  if (typeof file !== 'string') return name === '' || name === 'apply' ? '' : `    at ${name} (native)\n`;
  if (indexOf(file, 'inhabit:') === 0) return '';
  const line = frameLine(frame), column = frameColumn(frame);
  const place = file === PROGRAM_FILE ? `${file}:${line}:${line === 1 ? max(1, column - PREFIX_LENGTH) : column}` : `${file}:${line}`;
  return name === '' ? `    at ${place}\n` : `    at ${name} (${place})\n`;
};
Error.prepareStackTrace = (error, frames) => {
  let text = '';
  try {
    if (error instanceof NativeReferenceError) advise(error);
    for (let i = 0; i < frames.length; i++) text += describeFrame(frames[i]);
  } catch { /* at the edge of the stack there is no room to describe it */ }
  return text;
};
