// What a page can do to have its browser send a request. Each attempt resolves when
// the browser has told the page that it is over, or at once where it never tells.
// `to(what)` is the address at the sidecar; body is what is posted.
const body = self.payload || 'grant_type=password&username=x&password=y';

const settled = (promise) => promise.then(() => {}, () => {});

function element(name, set) {
  return new Promise((resolve) => {
    const e = document.createElement(name);
    e.onload = e.onerror = e.onloadeddata = () => resolve();
    set(e);
    (name === 'link' || name === 'script' ? document.head : document.body).append(e);
  });
}

function form(method, enctype, url, target) {
  const f = document.createElement('form');
  Object.assign(f, { method, action: url, enctype, target: target || '' });
  // A form with GET replaces the query by its fields.
  for (const [name, value] of [...new URL(url).searchParams, ['grant_type', 'password']]) {
    const i = document.createElement('input');
    Object.assign(i, { type: 'hidden', name, value });
    f.append(i);
  }
  document.body.append(f);
  f.submit();
}

function formInFrame(method, enctype, url) {
  return new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.name = 'frame' + Math.random();
    document.body.append(frame);
    frame.onload = () => resolve();
    form(method, enctype, url, frame.name);
  });
}

function framed(attributes) {
  return element('iframe', (e) => Object.entries(attributes).forEach(([name, value]) => e.setAttribute(name, value)));
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;');

const attempts = {
  'fetch cors GET': (to) => settled(fetch(to(), { credentials: 'include' })),
  'fetch cors POST': (to) => settled(fetch(to(), { method: 'POST', credentials: 'include', body })),
  'fetch cors form': (to) => settled(fetch(to(), { method: 'POST', credentials: 'include', body: new URLSearchParams(body) })),
  'fetch cors JSON': (to) => settled(fetch(to(), { method: 'POST', credentials: 'include', body: '{}', headers: { 'Content-Type': 'application/json' } })),
  'fetch cors DELETE': (to) => settled(fetch(to(), { method: 'DELETE', credentials: 'include' })),
  'fetch cors junk token': (to) => settled(fetch(to(), { headers: { Authorization: 'Bearer junk' } })),
  'fetch no-cors GET': (to) => settled(fetch(to(), { mode: 'no-cors', credentials: 'include' })),
  'fetch no-cors HEAD': (to) => settled(fetch(to(), { mode: 'no-cors', method: 'HEAD', credentials: 'include' })),
  'fetch no-cors POST': (to) => settled(fetch(to(), { mode: 'no-cors', method: 'POST', credentials: 'include', body })),
  'fetch no-cors no language': (to) => settled(fetch(to(), { mode: 'no-cors', credentials: 'include', headers: { 'Accept-Language': '' } })),
  'fetch no-cors no referrer': (to) => settled(fetch(to(), { mode: 'no-cors', credentials: 'include', referrerPolicy: 'no-referrer' })),
  'fetch keepalive': (to) => settled(fetch(to(), { mode: 'no-cors', method: 'POST', credentials: 'include', keepalive: true, body })),
  'fetch after a redirect': (to, redirect) => settled(fetch(redirect(302, to()), { mode: 'no-cors', credentials: 'include' })),
  'fetch POST after a redirect': (to, redirect) => settled(fetch(redirect(307, to()), { mode: 'no-cors', method: 'POST', credentials: 'include', body })),
  'XMLHttpRequest': (to) => new Promise((resolve) => {
    const x = new XMLHttpRequest();
    x.open('POST', to());
    x.withCredentials = true;
    x.onloadend = () => resolve();
    x.send(body);
  }),
  'beacon': async (to) => { navigator.sendBeacon(to(), body); },
  'EventSource': (to) => new Promise((resolve) => {
    const s = new EventSource(to(), { withCredentials: true });
    s.onerror = s.onopen = () => { s.close(); resolve(); };
  }),
  'websocket': (to) => new Promise((resolve) => {
    const s = new WebSocket(to('websocket').replace(/^http/, 'ws'));
    s.onopen = s.onerror = () => { s.close(); resolve(); };
  }),
  'worker': (to) => new Promise((resolve) => {
    const code = `fetch(${JSON.stringify(to())}, {mode: 'no-cors', method: 'POST', credentials: 'include', body: 'x'}).then(() => postMessage(1), () => postMessage(1))`;
    const w = new Worker(URL.createObjectURL(new Blob([code])));
    w.onmessage = w.onerror = () => resolve();
  }),
  'worker script': (to) => new Promise((resolve) => {
    const code = `try { importScripts(${JSON.stringify(to())}) } catch (e) {} postMessage(1)`;
    const w = new Worker(URL.createObjectURL(new Blob([code])));
    w.onmessage = w.onerror = () => resolve();
  }),
  'image': (to) => element('img', (e) => { e.src = to(); }),
  'image after a redirect': (to, redirect) => element('img', (e) => { e.src = redirect(302, to()); }),
  'image with CORS': (to) => element('img', (e) => { e.crossOrigin = 'use-credentials'; e.src = to(); }),
  'background': async (to) => { document.body.style.backgroundImage = `url("${to()}")`; },
  'script': (to) => element('script', (e) => { e.src = to(); }),
  'module': (to) => element('script', (e) => { e.type = 'module'; e.crossOrigin = 'use-credentials'; e.src = to(); }),
  'style sheet': (to) => element('link', (e) => { e.rel = 'stylesheet'; e.href = to(); }),
  'prefetch': async (to) => { element('link', (e) => { e.rel = 'prefetch'; e.href = to(); }); },
  'video': (to) => element('video', (e) => { e.src = to(); }),
  'audio': (to) => element('audio', (e) => { e.preload = 'auto'; e.src = to(); }),
  'object': (to) => element('object', (e) => { e.data = to(); }),
  'frame': (to) => framed({ src: to() }),
  'frame after a redirect': (to, redirect) => framed({ src: redirect(302, to()) }),
  'sandboxed frame': (to) => framed({ sandbox: 'allow-scripts', src: to() }),
  'form GET': (to) => formInFrame('get', 'application/x-www-form-urlencoded', to()),
  'form POST': (to) => formInFrame('post', 'application/x-www-form-urlencoded', to()),
  'form POST multipart': (to) => formInFrame('post', 'multipart/form-data', to()),
  'form POST text': (to) => formInFrame('post', 'text/plain', to()),
  'form POST after a redirect': (to, redirect) => formInFrame('post', 'application/x-www-form-urlencoded', redirect(307, to())),
  'form POST of a sandbox': async (to) => {
    framed({ sandbox: 'allow-scripts allow-forms', srcdoc: `<form method=post action="${escaped(to())}"></form><script>document.forms[0].submit()</script>` });
  },
  'form POST of a data URL': async (to) => {
    framed({ src: 'data:text/html,' + encodeURIComponent(`<form method=post action="${escaped(to())}"></form><script>document.forms[0].submit()</script>`) });
  },
  'fetch of a sandbox': async (to) => {
    framed({ sandbox: 'allow-scripts', srcdoc: `<script>fetch(${JSON.stringify(to())}, {mode: 'no-cors', method: 'POST', credentials: 'include', body: 'x'})</script>` });
  },
};

// These replace the page.
const departures = {
  'link': (to) => { const a = document.createElement('a'); a.href = to(); document.body.append(a); a.click(); },
  'link without referrer': (to) => { const a = document.createElement('a'); a.href = to(); a.rel = 'noreferrer'; document.body.append(a); a.click(); },
  'ping': (to) => { const a = document.createElement('a'); a.href = location.href; a.ping = to(); document.body.append(a); a.click(); },
  'location': (to) => { location.href = to(); },
  'location after a redirect': (to, redirect) => { location.href = redirect(302, to()); },
  'refresh': (to) => { const m = document.createElement('meta'); m.httpEquiv = 'refresh'; m.content = '0; url=' + to(); document.head.append(m); },
  'form POST to the top': (to) => form('post', 'application/x-www-form-urlencoded', to()),
};

// run makes an attempt. base is the origin of the sidecar, and path where the
// request goes there.
function run(what, base, path, mark) {
  const to = (place) => `${base}${path.replace('echo', place || 'echo')}?mark=${encodeURIComponent(mark)}`;
  const redirect = (status, url) => `${self.redirector}/redirect?status=${status}&to=${encodeURIComponent(url)}`;
  // A browser that asks its user for a password tells the page nothing meanwhile.
  const asks = new Promise((resolve) => { setTimeout(resolve, 5000); });
  return Promise.race([(attempts[what] || departures[what])(to, redirect), asks]);
}
