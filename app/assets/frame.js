// What the bar at the top of every page does: the theme that was chosen, what the machine does, the title of the tab.
(() => {
  const KEY = 'kd-theme', THEMES = ['system', 'light', 'dark'], SIGNS = {system: '◐', light: '☀', dark: '☾'};
  const DARK = '(prefers-color-scheme: dark)', EVERY_MS = 5000;
  const kept = () => { try { return localStorage.getItem(KEY) || 'system'; } catch { return 'system'; } };

  // Gradio and its plots follow what the system prefers, and ask for it in this way: whoever asks hears what was chosen.
  const ask = window.matchMedia.bind(window), system = ask(DARK), told = new EventTarget();
  const chosen = {
    get matches() { return kept() === 'system' ? system.matches : kept() === 'dark'; },
    media: DARK,
    addEventListener: (...arguments_) => told.addEventListener(...arguments_),
    removeEventListener: (...arguments_) => told.removeEventListener(...arguments_),
    addListener: (listener) => told.addEventListener('change', listener),
    removeListener: (listener) => told.removeEventListener('change', listener),
  };
  window.matchMedia = (query) => query === DARK ? chosen : ask(query);
  const tell = () => { told.dispatchEvent(new Event('change')); show(); };
  system.addEventListener('change', tell);
  window.addEventListener('storage', (event) => { if (event.key === KEY) tell(); });

  // Gradio's own texts follow the browser's language: here that of the page.
  const language = document.documentElement.lang;
  Object.defineProperty(navigator, 'language', {get: () => language, configurable: true});
  Object.defineProperty(navigator, 'languages', {get: () => [language], configurable: true});
  document.addEventListener('click', (event) => {
    const wanted = event.target.closest?.('[data-kd-language]')?.dataset.kdLanguage;
    if (!wanted) return;
    document.cookie = `kd_language=${wanted}; path=/; max-age=31536000; samesite=lax`;
    window.location.reload();
  });
  const say = (text) => window.kdLanguage ? window.kdLanguage.say(text) : text;

  const show = () => document.querySelectorAll('[data-kd-theme]').forEach((button) => {
    button.textContent = SIGNS[kept()];
    button.title = `Theme: ${kept()}`;
    button.setAttribute('aria-label', `Theme: ${kept()}`);
  });
  document.addEventListener('click', (event) => {
    if (!event.target.closest?.('[data-kd-theme]')) return;
    const next = THEMES[(THEMES.indexOf(kept()) + 1) % THEMES.length];
    try { localStorage.setItem(KEY, next); } catch { return; }
    tell();
  });

  const load = async () => {
    const place = document.querySelector('.kd-machine');
    if (!place || document.hidden) return;
    try {
      const response = await fetch('/machine', {headers: {accept: 'application/json'}});
      if (!response.ok) return;
      const found = await response.json();
      place.replaceChildren(...found.parts.map(({text, kind}) => {
        const part = document.createElement('span');
        part.className = kind;
        part.textContent = text;
        return part;
      }));
    } catch { place.textContent = 'not connected'; }
  };
  const begin = () => {
    const header = document.querySelector('header[data-page]');
    if (!header) { setTimeout(begin, 50); return; }
    // What is chosen on a page names its tab: an element with data-tab-title, else the page itself.
    const name = () => {
      const title = document.querySelector('[data-tab-title]')?.dataset.tabTitle;
      const wanted = `${title ? `${header.dataset.page.toLowerCase()} ${title}` : header.dataset.page} · kd`;
      if (document.title !== say(wanted)) document.title = say(wanted);
    };
    show(); load(); name();
    setInterval(load, EVERY_MS);
    setInterval(name, 500);
    document.addEventListener('visibilitychange', load);
  };
  begin();
})();
