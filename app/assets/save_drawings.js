// Saves all drawings of the page as one SVG or PNG: tiles are copied piece by piece, a Plotly figure is a pile of SVG layers.
(kind, name) => {
  const root = document.querySelector('#inspect-drawings');
  const style = getComputedStyle(document.body);
  // A head that stays in sight stands elsewhere on a page that is scrolled.
  const heads = [...root.querySelectorAll('.kd-tile-head')];
  heads.forEach((head) => { head.style.position = 'static'; });
  const space = 24;
  const parts = [];
  let width = 0, height = space;
  const escaped = (text) => text.replace(/[<>&"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const words = (text, x, y, size, weight, colour) =>
    `<text x="${x}" y="${y}" font-family="system-ui, sans-serif" font-size="${size}" font-weight="${weight}" fill="${colour}">${escaped(text)}</text>`;
  const add = (wide, high, title, draw) => {
    const head = title ? 22 : 0;
    if (title) parts.push(words(title, space, height + 14, 14, 600, style.color));
    parts.push(draw(height + head));
    width = Math.max(width, wide + 2 * space);
    height += head + high + space;
  };
  const layers = (figure, box) => (top) => [...figure.querySelectorAll('svg.main-svg')].map((layer) => {
    const copy = layer.cloneNode(true);
    copy.setAttribute('x', space);
    copy.setAttribute('y', top);
    copy.setAttribute('width', box.width);
    copy.setAttribute('height', box.height);
    copy.style.position = '';
    return new XMLSerializer().serializeToString(copy);
  }).join('');
  // A text that its box cuts off is cut off here too.
  const text = (node, left, top) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const at = range.getClientRects()[0], box = node.parentElement, its = getComputedStyle(box);
    if (!at || !at.width || !node.textContent.trim()) return '';
    const share = its.overflowX === 'hidden' && its.display !== 'inline' ? Math.min(1, box.clientWidth / Math.max(1, at.width)) : 1;
    const all = node.textContent;
    const fits = share < 1 ? all.slice(0, Math.max(1, Math.floor(all.length * share) - 1)) + '…' : all;
    return words(fits, at.left - left, at.bottom - top - 0.28 * at.height, parseFloat(its.fontSize), its.fontWeight, its.color);
  };
  const piece = (one, left, top) => {
    const at = one.getBoundingClientRect(), its = getComputedStyle(one);
    if (!at.width || its.display === 'none') return '';
    const place = `x="${at.left - left}" y="${at.top - top}" width="${at.width}" height="${at.height}"`;
    const image = (href, opacity) => `<image href="${href}" ${place} opacity="${opacity}" preserveAspectRatio="none" style="image-rendering:pixelated"/>`;
    if (one.matches('img')) return image(one.src, its.opacity);
    if (one.matches('svg')) {
      const copy = one.cloneNode(true);
      for (const [name, value] of [['x', at.left - left], ['y', at.top - top], ['width', at.width], ['height', at.height]]) copy.setAttribute(name, value);
      copy.querySelectorAll('polyline').forEach((line) => { line.setAttribute('fill', 'none'); line.setAttribute('stroke', '#fff'); });
      return new XMLSerializer().serializeToString(copy);
    }
    const behind = its.backgroundImage.match(/^url\("(data:[^"]+)"\)$/);
    const edge = parseFloat(its.borderTopWidth) && one.matches('.kd-image')
      ? `<rect ${place} fill="none" stroke="${its.borderTopColor}" stroke-width="3" ${its.borderTopStyle === 'dashed' ? 'stroke-dasharray="8 5"' : ''}/>` : '';
    const plain = !behind && one.matches('i, .kd-badge-right, .kd-badge-wrong') && its.backgroundColor !== 'rgba(0, 0, 0, 0)'
      ? `<rect ${place} rx="${its.borderTopLeftRadius === '50%' ? at.width / 2 : 2}" fill="${its.backgroundColor}"/>` : '';
    return (behind ? image(behind[1], 1) : '') + edge + plain;
  };
  const tiles = (grid, box) => (top) => {
    const found = [];
    const walk = document.createTreeWalker(grid, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) found.push(text(node, box.left, box.top));
      else if (!node.matches('svg *')) found.push(piece(node, box.left, box.top));
    }
    return `<g transform="translate(${space} ${top})">${found.join('')}</g>`;
  };
  root.querySelectorAll('.kd-tiles, .js-plotly-plot').forEach((one) => {
    const box = one.getBoundingClientRect();
    if (!box.width) return;
    const title = one.closest('.kd-drawing')?.querySelector('h2')?.textContent || '';
    add(box.width, box.height, title, one.matches('.kd-tiles') ? tiles(one, box) : layers(one, box));
  });
  heads.forEach((head) => { head.style.position = ''; });
  if (!parts.length) return;
  const back = style.backgroundColor === 'rgba(0, 0, 0, 0)' ? '#ffffff' : style.backgroundColor;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" color="${style.color}"><rect width="100%" height="100%" fill="${back}"/>${parts.join('')}</svg>`;
  const save = (blob) => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = `${name || 'inspect'}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const blob = new Blob([svg], {type: 'image/svg+xml'});
  if (kind === 'svg') { save(blob); return; }
  const image = new Image();
  const address = URL.createObjectURL(blob);
  image.onload = () => {
    const canvas = document.createElement('canvas');
    canvas.width = 2 * width;
    canvas.height = 2 * height;
    const paper = canvas.getContext('2d');
    paper.scale(2, 2);
    paper.drawImage(image, 0, 0);
    URL.revokeObjectURL(address);
    canvas.toBlob(save, 'image/png');
  };
  image.src = address;
}
