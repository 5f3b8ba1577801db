// Drives a Chromium over its debugging protocol: enrols a passkey on a virtual authenticator and answers three questions with it.
// node bench/passkey.mjs PORT ENROL_URL APPROVALS_URL TOKEN, one line of JSON out.
const [port, enrolUrl, approvalsUrl, token] = process.argv.slice(2);
const pages = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json();
const socket = new WebSocket(pages.find(page => page.type === "page").webSocketDebuggerUrl);
await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
const waiting = new Map();
const violations = [];
let last = 0;
socket.onmessage = ({ data }) => {
  const { id, result, error, method, params } = JSON.parse(data);
  if (method === "Log.entryAdded") violations.push(params.entry.text);
  if (waiting.has(id)) { const { resolve, reject } = waiting.get(id); waiting.delete(id); error ? reject(new Error(error.message)) : resolve(result); }
};
const send = (method, params = {}) => new Promise((resolve, reject) => {
  waiting.set(++last, { resolve, reject });
  socket.send(JSON.stringify({ id: last, method, params }));
});
const run = async expression => {
  const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true, userGesture: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
  return result.value;
};
const until = async (expression, what) => {
  for (let tries = 0; tries < 200; tries++) {
    const found = await run(expression).catch(() => undefined);
    if (found) return found;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: ${await run("document.body.innerText")}`);
};
const said = 'document.getElementById("said").textContent';
for (const domain of ["Page", "Runtime", "Log", "WebAuthn"]) await send(`${domain}.enable`);
const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
const { authenticatorId } = await send("WebAuthn.addVirtualAuthenticator", { options });

await send("Page.navigate", { url: enrolUrl });
await until('document.readyState === "complete" && !!document.getElementById("enrol")', "the page to enrol");
await run('document.getElementById("enrol").click()');
const enrolled = await until(said, "enrolling");

await send("Page.navigate", { url: approvalsUrl });
await until('document.readyState === "complete" && !!document.getElementById("token")', "the page of approvals");
await run(`document.getElementById("token").value = ${JSON.stringify(token)}; document.querySelector("#sign-in button").click()`);
await until('document.querySelectorAll("section").length', "what waits");
const about = text => `[...document.querySelectorAll("section")].find(one => one.textContent.includes(${JSON.stringify(text)}))`;
const shown = await run(`${about("onerror")}.querySelector("pre").textContent`);
const markup = await run('document.querySelectorAll("#waiting img, #waiting script, #waiting a").length');
const press = name => run(`[...${about("onerror")}.querySelectorAll("button")].find(one => one.textContent === "${name}").click()`);
const key = async (name, text) => {
  for (const type of [text ? "keyDown" : "rawKeyDown", "keyUp"]) await send("Input.dispatchKeyEvent", {
    type, key: name, code: name, windowsVirtualKeyCode: { Tab: 9, Enter: 13 }[name], ...(type === "keyDown" ? { text } : {}) });
};
// From the first summary of a section on, by the keyboard alone: what is folded opens, its text is replaced, its button is pressed.
const write = async (text, written) => {
  await run(`${about(text)}.querySelector("summary").focus(); ${said} = ""`);
  await key("Enter", "\r");
  await until(`${about(text)}.querySelector("details").open`, "what opens by a key");
  await key("Tab");
  if (await run("document.activeElement.tagName") !== "TEXTAREA") throw new Error("the next stop of the keyboard is not the text");
  await run("document.activeElement.select()");
  await send("Input.insertText", { text: written(await run("document.activeElement.value")) });
  await key("Tab");
  await key("Enter", "\r");
  return await until(said, "an answer by the keyboard");
};

await send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
await press("Approve");
const unverified = await until(said, "an answer that nobody verified");
await send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: true });
await run(`${said} = ""`);
await press("Approve");
const approved = await until(said, "an answer");
await until(`!${about("onerror")}`, "an answered question to go");
const focus = await run("document.activeElement.tagName");
const wrong = await write("one crate", text => text + "}");
await run(`${about("one crate")}.querySelector("details").open = false`);
await run('location.reload()');
await until('document.readyState === "complete" && !!document.getElementById("token") && !document.querySelector("section")', "the page once more");
await run(`document.getElementById("token").value = ${JSON.stringify(token)}; document.querySelector("#sign-in button").click()`);
await until('document.querySelectorAll("section").length', "what waits now");
const edited = await write("one crate", text => text.replace("one crate", "two crates"));
const settled = await write("lab.launch", () => JSON.stringify("up it went"));
console.log(JSON.stringify({ enrolled, shown, markup, unverified, approved, focus, wrong, edited, settled, violations }));
socket.close();
