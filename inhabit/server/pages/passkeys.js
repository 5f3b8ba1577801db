// The pages where people enrol a passkey and answer what programs ask. All text goes in as text, never as markup; the token
// is in this page's memory alone.
"use strict";

const said = document.getElementById("said");
const tell = text => { said.textContent = text; };

async function ask(method, path, body, token) {
  const headers = { "accept": "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (token) headers["authorization"] = `Bearer ${token}`;
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.detail + (value.fix ? ` (${value.fix})` : ""));
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

async function answer(token, approval, verdict, reason) {
  const path = `../v1/approvals/${encodeURIComponent(approval.id)}`;
  const answered = { verdict, digest: approval.digest, reason };
  const { challenge_id, ...options } = await ask("POST", `${path}/challenge`, answered, token);
  const made = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  const done = await ask("POST", path, { ...answered, challenge: challenge_id, assertion: made.toJSON() }, token);
  tell(`${done.verdict}: ${done.id}, by ${done.by} (${done.credential})`);
  await list(token);
}

async function list(token) {
  const waiting = document.getElementById("waiting");
  const { groups } = await ask("GET", "../v1/approvals", undefined, token);
  waiting.replaceChildren();
  if (!groups.length) line(waiting, "p", "Nothing waits for approval.");
  for (const approval of groups.flatMap(group => group.approvals)) {
    const whole = approval.truncated
      ? await ask("GET", `../v1/approvals/${encodeURIComponent(approval.id)}?whole=true`, undefined, token) : approval;
    const shown = line(waiting, "section", "");
    line(shown, "h2", `${whole.operation} for ${whole.principal}`);
    line(shown, "p", `${whole.reason} (${whole.rule}), until ${new Date(whole.expires_ms).toLocaleString()}`);
    line(shown, "pre", whole.arguments);
    for (const warning of [...whole.warnings, ...(approval.odd || [])]) line(shown, "p", `Careful: ${warning}`);
    const reason = line(line(shown, "label", "Reason: "), "input", "");
    line(shown, "button", "Approve").addEventListener("click", tried(() => answer(token, whole, "approve", reason.value)));
    line(shown, "button", "Reject").addEventListener("click", tried(() => answer(token, whole, "reject", reason.value)));
  }
}

document.getElementById("enrol")?.addEventListener("click", tried(enrol));
document.getElementById("sign-in")?.addEventListener("submit", tried(async () => {
  tell("");
  await list(document.getElementById("token").value.trim());
}));
