/** The pages that are not bull-board's: plain HTML that needs no script. */

const STYLE = `
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #1b232e; background: #f1f3f6; }
main { max-width: 22rem; margin: 12vh auto 0; padding: 2rem; background: #fff; border-radius: 8px; }
main > :last-child { margin-bottom: 0; }
h1 { margin: 0 0 1rem; font-size: 1.25rem; }
label { display: block; margin-top: 1rem; }
input { box-sizing: border-box; width: 100%; padding: .5rem; font: inherit; border: 1px solid #8492a6; border-radius: 4px; }
button { margin-top: 1.5rem; padding: .5rem 1.25rem; font: inherit; color: #fff; background: #1f5fbf; border: 0; border-radius: 4px; }
[role=alert] { padding: .5rem .75rem; color: #8a1111; background: #fdecec; border-radius: 4px; }
@media (prefers-color-scheme: dark) {
  body { color: #e3e8ef; background: #151a21; }
  main { background: #202833; }
  input { color: inherit; background: #151a21; }
  a { color: #8ab4f8; }
  [role=alert] { color: #ffc9c9; background: #4a1d1d; }
}`;

/** @param page.head markup that belongs into the head */
function layout({ title, body, head = '' }: { title: string; body: string; head?: string }): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
${head}<title>${escapeHtml(title)} - product-categorizer</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>product-categorizer</h1>
${body}
</main>
</body>
</html>
`;
}

/** @param page.to where a login leads: a path of this server */
export function loginPage(page: { to: string; user?: string; error?: string }): string {
  const error = page.error === undefined ? '' : `<p role="alert">${escapeHtml(page.error)}</p>\n`;
  // A link on another site comes without the cookie, as that is SameSite=Strict; this link comes with it.
  const back = page.to === '/' ? '' : `\n<p>Logged in already? <a href="${escapeHtml(page.to)}">Go on</a></p>`;
  return layout({
    title: 'Log in',
    body: `${error}<form method="post" action="/login">
<input type="hidden" name="to" value="${escapeHtml(page.to)}">
<label for="user">User</label>
<input id="user" name="user" value="${escapeHtml(page.user ?? '')}" autocomplete="username" autocapitalize="none" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit">Log in</button>
</form>${back}`,
  });
}

/** Who is logged in, what that allows, and the way out. */
export function accountPage(account: { user: string | undefined; role: 'operator' | 'viewer' }): string {
  const { user, role } = account;
  const may = role === 'operator' ? 'may look at the queues and change them' : 'may look at the queues, read-only';
  const who = user === undefined ? 'Nobody has to log in here.' : `Logged in as <strong>${escapeHtml(user)}</strong>.`;
  const logout =
    user === undefined ? '' : '\n<form method="post" action="/logout"><button type="submit">Log out</button></form>';
  return layout({
    title: 'Account',
    body: `<p>${who}</p>\n<p>Role: <strong>${role}</strong>, ${may}.</p>\n<p><a href="/">To the queues</a></p>${logout}`,
  });
}

/** A sentence. @param page.again the browser asks again every few seconds */
export function messagePage({ message, again = false }: { message: string; again?: boolean }): string {
  return layout({
    title: 'Not now',
    head: again ? '<meta http-equiv="refresh" content="5">\n' : '',
    body: `<p role="alert">${escapeHtml(message)}</p>
<p>${again ? 'This page tries again by itself.' : '<a href="/">To the queues</a>'}</p>`,
  });
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
