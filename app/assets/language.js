// The page in the language of a catalogue (app/languages): each text that the document shows, now or later, is looked up
// before the browser paints it. The English text is the key. `{name}` in it stands for what changes, `{0}` for an element
// in the midst of a sentence; what stands between " · " is looked up part by part.
(() => {
  const LETTERS = /[A-Za-z]{2}/, MARK = '\uE000', PARTS = /( · |^· | ·$|\n)/;
  const SKIPPED = '[translate=no], .kd-document, code, pre, kbd, samp, script, style, textarea, .cm-editor';
  const INLINE = new Set(['A', 'ABBR', 'B', 'BR', 'CODE', 'EM', 'I', 'KBD', 'LABEL', 'SMALL', 'SPAN', 'STRONG', 'SUB', 'SUP']);
  const ATTRIBUTES = ['title', 'aria-label', 'placeholder', 'alt', 'data-title'];
  const PLACED = /^(⚠ |: |[^:]{1,40}: )(.+)$/s;  // a message behind the setting that it is about
  const MAX_KNOWN = 20000;

  const exact = new Map(), patterns = new Map(), known = new Map();
  const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const firstWord = (text) => text.match(/^[^\s{]+(?=\s)/)?.[0] ?? '';
  const pattern = (from, to) => {
    const names = [];
    const source = from.split(/(\{\w+\})/).map((part) => {
      if (!/^\{\w+\}$/.test(part)) return literal(part);
      const name = part.slice(1, -1);
      if (/^\d+$/.test(name)) return MARK + name + MARK;
      names.push(name);
      return '((?:(?! · )[^\uE000])+?)';
    }).join('');
    const weight = from.replace(/\{\w+\}/g, '').length;
    return {matches: new RegExp(`^${source}$`, 's'), names, to, weight};
  };
  for (const [from, to] of Object.entries(window.kdCatalog || {})) {
    if (!from.includes('{')) { exact.set(from, to); continue; }
    const word = firstWord(from);
    patterns.set(word, [...(patterns.get(word) || []), pattern(from, to)]);
  }
  const filled = ({names, to}, values) => to.replace(/\{(\w+)\}/g, (whole, name) => {
    if (/^\d+$/.test(name)) return MARK + name + MARK;
    const value = values[names.indexOf(name)];
    return value === undefined ? whole : looked(value) ?? value;
  });
  const search = (text) => {
    if (exact.has(text)) return exact.get(text);
    const candidates = [...patterns.get(firstWord(text)) || [], ...patterns.get('') || []];
    const fitting = candidates.filter((each) => each.matches.test(text));
    if (fitting.length) {
      const best = fitting.reduce((a, b) => b.weight > a.weight ? b : a);  // what says most
      return filled(best, text.match(best.matches).slice(1));
    }
    const [, place, rest] = text.match(PLACED) || [];
    const said = rest && looked(rest);
    return said ? say(place.replace(/: $/, '')) + (/: $/.test(place) ? '：' : '') + said : null;
  };
  const looked = (text) => {
    if (!known.has(text)) {
      if (known.size > MAX_KNOWN) known.clear();
      known.set(text, search(text));
    }
    return known.get(text);
  };
  const hasWords = (text) => LETTERS.test(text);
  // {text, missing}: the translation, and the parts that are not in the catalogue.
  const translate = (raw) => {
    const text = raw.replace(/\s+/g, ' ').trim();
    if (!hasWords(text)) return {text: raw, missing: []};
    const [before, after] = [raw.match(/^\s*/)[0], raw.match(/\s*$/)[0]];
    const found = looked(text);
    if (found !== null) return {text: before + found + after, missing: []};
    const missing = [];
    const said = raw.split(PARTS).map((part) => {
      const text = part.replace(/\s+/g, ' ').trim();
      const found = hasWords(text) ? looked(text) : text;
      if (found === null) missing.push(text);
      return found === null ? part : part.replace(/\S.*\S|\S/s, () => found);
    });
    return {text: said.join(''), missing};
  };
  const say = (text) => translate(text).text;

  const written = new WeakMap();  // what stands in a text node because of us
  const isSkipped = (element) => Boolean(element?.closest(SKIPPED));
  const sayText = (node) => {
    if (!hasWords(node.data) || written.get(node) === node.data) return;
    const said = say(node.data);
    if (said !== node.data) { written.set(node, said); node.data = said; }
  };
  const sayAttribute = (element, name) => {
    const value = element.getAttribute(name);
    if (!value) return;
    const said = say(value);
    if (said !== value) element.setAttribute(name, said);
  };

  // A sentence with elements in its midst, as one text; null for what is none.
  const sentence = (element) => {
    const children = [...element.childNodes].filter((each) => each.nodeType === 1 || each.nodeType === 3);
    const elements = children.filter((each) => each.nodeType === 1);
    const isOne = elements.length && elements.every((each) => INLINE.has(each.tagName))
      && children.some((each) => each.nodeType === 3 && hasWords(each.data));
    if (!isOne) return null;
    const text = children.map((each) => each.nodeType === 3 ? each.data : MARK + elements.indexOf(each) + MARK).join('');
    return {elements, text: text.replace(/\s+/g, ' ').trim()};
  };
  const saySentence = (element) => {
    const found = sentence(element);
    const said = found && looked(found.text);
    if (!said) return;
    const parts = said.split(MARK).map((part, index) => index % 2 ? found.elements[Number(part)] : part && mine(part));
    element.replaceChildren(...parts.filter(Boolean));
  };
  const mine = (text) => {
    const node = document.createTextNode(text);
    written.set(node, text);
    return node;
  };

  // The field of a list shows the choice as its value, which Gradio reads again: it gets what it has set.
  const VALUE = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value');
  const dressed = new WeakSet();
  const dress = (input) => {
    if (dressed.has(input)) return;
    dressed.add(input);
    let own = null, shown = null;
    const set = (value) => { own = value; shown = say(String(value ?? '')); VALUE.set.call(input, shown); };
    const get = () => { const now = VALUE.get.call(input); return now === shown ? own : now; };
    set(VALUE.get.call(input));
    Object.defineProperty(input, 'value', {configurable: true, get, set});
  };

  const sayElement = (element) => {
    if (element.matches(SKIPPED)) return;
    ATTRIBUTES.forEach((name) => sayAttribute(element, name));
    if (element.matches('input[role=combobox], input[role=listbox]')) dress(element);
    saySentence(element);
    element.childNodes.forEach(sayNode);
  };
  const sayNode = (node) => {
    if (node.nodeType === 3) sayText(node);
    else if (node.nodeType === 1) sayElement(node);
  };
  const changed = ({type, target, addedNodes, attributeName}) => {
    const element = target.nodeType === 1 ? target : target.parentElement;
    if (isSkipped(element)) return;
    if (type === 'attributes') sayAttribute(target, attributeName);
    else if (element) saySentence(element);
    if (type === 'characterData') sayText(target);
    addedNodes.forEach((node) => { if (node.isConnected) sayNode(node); });
  };

  window.kdLanguage = {translate, say, sentence, isSkipped, ATTRIBUTES};
  if (!window.kdCatalog) return;
  sayNode(document.documentElement);
  new MutationObserver((changes) => changes.forEach(changed)).observe(document.documentElement, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES,
  });
})();
