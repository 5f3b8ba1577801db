// The pages where people enrol a passkey and answer what programs ask. All text goes in as text, never as markup; the token
// is in this page's memory alone.
"use strict";

const said = document.getElementById("said");
const tell = text => { said.textContent = text; };

async function ask(method, path, body, token) {
  const headers = { "accept": "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (token) headers["authorization"] = `Bearer ${token}`;
  const answer = await fetch(path, { method, headers, body: typeof body === "object" ? JSON.stringify(body) : body });
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.detail + (value.fix ? ` (${value.fix})` : "")), { code: value.code });
  return value;
}

const tried = work => async event => {
  if (event) event.preventDefault();
  try { await work(); } catch (error) { tell(error.message); }
};

async function enrol() {
  const invitation = location.hash.slice(1);
  const options = await ask("POST", "../v1/passkeys/begin", { invitation });
  const made = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
  const kept = await ask("POST", "../v1/passkeys/finish", { invitation, credential: made.toJSON() });
  tell(`Passkey ${kept.number} answers for ${kept.principal} from now on. You can close this window.`);
}

function line(parent, kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  parent.append(made);
  return made;
}

// Numbers that a program wrote are not ours to round: what a person edited goes out as the text that it is, once it reads as JSON.
function withText(answered, field, text) {
  return field ? `${JSON.stringify(answered).slice(0, -1)},${JSON.stringify(field)}:${text}}` : JSON.stringify(answered);
}

function read(text, what, isRight) {
  let value;
  try { value = JSON.parse(text); } catch (error) { throw new Error(`${what} must be JSON: ${error.message}`); }
  if (!isRight(value)) throw new Error(`${what} must be one JSON object, as shown above`);
  return text;
}

async function signed(path, answered, field, text, token) {
  let options;
  try {
    options = await ask("POST", `${path}/challenge`, withText(answered, field, text), token);
  } catch (error) {
    if (error.code !== "passkey_missing") throw error;
    return answered;     // who has no passkey answers with the token alone, where the server takes that
  }
  const { challenge_id, ...publicKey } = options;
  const made = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) });
  return { ...answered, challenge: challenge_id, assertion: made.toJSON() };
}

async function answer(token, approval, verdict, reason, field, text) {
  const path = `../v1/approvals/${encodeURIComponent(approval.id)}`;
  const answered = await signed(path, { verdict, digest: approval.digest, reason }, field, text, token);
  const done = await ask("POST", path, withText(answered, field, text), token);
  tell(`${done.verdict}: ${done.id}, by ${done.by} (${done.credential})`);
}

function field(parent, kind, label) {
  const named = line(line(parent, "p", ""), "label", `${label} `);
  return line(named, kind, "");
}

// What a person may say to a question: the button, the verdict, and what is to be written for it.
const ANSWERS = {
  may_it_happen: [
    { button: "Approve", verdict: "approve" },
    { button: "Reject", verdict: "reject" },
    { button: "Approve as edited", verdict: "approve", opens: "Edit, then approve", label: "Arguments, as JSON:", field: "arguments", begins: whole => whole.arguments,
      isRight: value => typeof value === "object" && value !== null && !Array.isArray(value) }],
  did_it_happen: [
    { button: "It happened", verdict: "happened", opens: "It happened", label: "What it answered, as JSON:", field: "value", begins: () => "null", isRight: () => true },
    { button: "It did not happen: make the call again", verdict: "not_done" },
    { button: "Nobody can say: end the run as unknown", verdict: "give_up" }],
};

function show(waiting, token, whole, odd, number) {
  const shown = line(waiting, "section", "");
  const head = line(shown, "h2", `${whole.operation} for ${whole.principal}`);
  head.id = `question-${number}`;
  head.tabIndex = -1;
  shown.setAttribute("aria-labelledby", head.id);
  if (whole.question === "did_it_happen") line(shown, "p", "Did this call take effect? It was under way when the server stopped, and nobody knows.");
  line(shown, "p", `${whole.reason} (${whole.rule}), until ${new Date(whole.expires_ms).toLocaleString()}`);
  line(shown, "pre", whole.arguments);
  for (const warning of [...whole.warnings, ...odd]) line(shown, "p", `Careful: ${warning}`);
  const reason = field(shown, "input", "Reason:");
  const edits = whole.sequence > 0;     // a change set is approved as it is
  for (const one of ANSWERS[whole.question].filter(one => edits || one.field !== "arguments")) {
    const place = one.opens ? line(shown, "details", "") : shown;
    if (one.opens) line(place, "summary", one.opens);
    const written = one.field && field(place, "textarea", one.label);
    if (written) Object.assign(written, { cols: 80, rows: 8, spellcheck: false, value: one.begins(whole) });
    line(place, "button", one.button).addEventListener("click", tried(async () => {
      const text = written && read(written.value, one.label.replace(/, as JSON:/, ""), one.isRight);
      await answer(token, whole, one.verdict, reason.value, one.field, text);
      const next = shown.nextElementSibling || shown.previousElementSibling;
      shown.remove();       // what was written to the others stays
      if (!next) line(waiting, "p", "Nothing else waits.");
      (next?.querySelector("h2") || said).focus();
    }));
  }
}

async function list(token) {
  const waiting = document.getElementById("waiting");
  const { groups } = await ask("GET", "../v1/approvals", undefined, token);
  waiting.replaceChildren();
  if (!groups.length) line(waiting, "p", "Nothing waits for approval.");
  for (const [number, approval] of groups.flatMap(group => group.approvals).entries()) {
    const whole = approval.truncated
      ? await ask("GET", `../v1/approvals/${encodeURIComponent(approval.id)}?whole=true`, undefined, token) : approval;
    show(waiting, token, whole, approval.odd || [], number);
  }
}

document.getElementById("enrol")?.addEventListener("click", tried(enrol));
document.getElementById("sign-in")?.addEventListener("submit", tried(async () => {
  tell("");
  await list(document.getElementById("token").value.trim());
}));
