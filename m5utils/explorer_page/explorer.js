// Draws what explorer.py wrote. No framework, no build step, nothing from elsewhere: data come as scripts that
// call put(), because a page from the file system may load scripts and nothing else.
"use strict";

const CLASSES = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7a7a7a", "#8a6bd1"];
const ABSENT = 65535, NOTHING = 2 ** 32 - 1, CELLS = 256, TOP = 10;
const NUMERAL = new Intl.NumberFormat("en");
const $ = (id) => document.getElementById(id);

// ---- data ----

const waiting = new Map();
let space = null; // what is shown: about, items, maps, methods, typed
const state = { space: "", map: "", item: "", q: "", list: "", by: "", at: "" };
const view = { x: 32767, y: 32767, zoom: 1 };
const hidden = new Set(); // colours that are switched off
const timing = {}; // milliseconds, for who wants to know

function put(name, value) {
  const key = document.currentScript.dataset.key;
  waiting.get(key)?.(value);
  waiting.delete(key);
}

/** Load one of the scripts of a space; whoever is called by put() is who asked for that very file. */
function load(folder, name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script"), file = `${folder ? folder + "/" : ""}${name}.js`;
    script.dataset.key = `${file} ${waiting.size} ${performance.now()}`;
    waiting.set(script.dataset.key, resolve);
    const missing = () => reject(new Error(`${file} is not there or not whole: run the notebook again.`));
    script.onload = () => { if (waiting.delete(script.dataset.key)) missing(); script.remove(); };
    script.onerror = missing;
    script.src = file;
    document.head.append(script);
  });
}

async function unpacked(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}
const numbers = async (base64, Type) => new Type(await unpacked(base64));
const texts = async (base64) => JSON.parse(new TextDecoder().decode(await unpacked(base64)));

/** A part of the space that is loaded when it is first asked for. */
function once(kind, number, make) {
  const parts = space[kind];
  parts[number] ??= load(space.folder, `${kind}-${number}`).then(make);
  return parts[number];
}

const mapOf = (number) => once("map", number, async (packed) => gridOf(await numbers(packed.xy, Uint16Array)));

const answersOf = (number) => once("method", number, async (packed) => {
  const [items, found, scores, ranks] = await Promise.all([numbers(packed.items, Uint32Array),
    numbers(packed.found, Uint32Array), numbers(packed.scores, Float32Array), numbers(packed.ranks, Uint32Array)]);
  return { items, found, scores, ranks, place: new Map(Array.from(items, (item, i) => [item, i])) };
});

const typedOf = (number) => once("typed", number, async (packed) => {
  const about = space.about.methods[number].typed;
  const [vocabulary, vectors, images] = await Promise.all([texts(packed.vocabulary),
    numbers(packed.vectors, Int16Array), numbers(packed.images, about.bits === 16 ? Int16Array : Int8Array)]);
  return { ...about, row: new Map(vocabulary.map((word, i) => [word, i])), vectors, images };
});

const captionWords = () => once("words", 0, async (packed) => {
  const [vocabulary, words, starts] = await Promise.all([texts(packed.vocabulary),
    numbers(packed.words, Uint32Array), numbers(packed.starts, Uint32Array)]);
  return { number: new Map(vocabulary.map((word, i) => [word, i])), words, starts };
});

async function openSpace(entry) {
  const about = await load(entry.folder, "space");
  const packed = await load(entry.folder, "items");
  const [names, captions, imageOf, labels, isQuery] = await Promise.all([texts(packed.names), texts(packed.captions),
    numbers(packed.image_of, Uint32Array), numbers(packed.labels, Uint32Array), numbers(packed.is_query, Uint8Array)]);
  const captionsOf = new Map();
  imageOf.forEach((image, i) => {
    if (!captionsOf.has(image)) captionsOf.set(image, []);
    captionsOf.get(image).push(names.length + i);
  });
  space = { folder: entry.folder, about, names, captions, imageOf, labels, isQuery, captionsOf, map: {}, method: {},
    typed: {}, words: {} };
  const colours = about.classes.length ? about.classes : ["image", "caption"].slice(0, about.n_captions ? 2 : 1);
  const colourOf = new Uint8Array(names.length + captions.length);
  if (about.classes.length) colourOf.set(labels.map((label) => label % 255));
  else colourOf.fill(1, names.length);
  Object.assign(space, { colours, colourOf });
}

// ---- items ----

const isImage = (item) => item < space.names.length;
const imageOf = (item) => (isImage(item) ? item : space.imageOf[item - space.names.length]);
const caption = (item) => space.captions[item - space.names.length];
const partners = (item) => (isImage(item) ? space.captionsOf.get(item) ?? [] : [imageOf(item)]);

function isRight(query, answer) {
  if (space.about.classes.length) return space.labels[query] === space.labels[answer];
  return isImage(query) !== isImage(answer) && imageOf(query) === imageOf(answer);
}

/** What an item is, in words: a caption's text, an image's class or first caption, and its name. */
function saying(item) {
  if (!isImage(item)) return caption(item);
  if (space.about.classes.length) return `${space.about.classes[space.labels[item]]}: ${space.names[item]}`;
  const first = space.captionsOf.get(item);
  return first ? caption(first[0]) : space.names[item];
}

// ---- the map ----

/** Points in cells, to find the one under the pointer. */
function gridOf(xy) {
  const n = xy.length / 2, cell = new Int32Array(n).fill(-1), starts = new Uint32Array(CELLS * CELLS + 1);
  for (let i = 0; i < n; i++) {
    if (xy[2 * i] === ABSENT) continue;
    cell[i] = (xy[2 * i + 1] >> 8) * CELLS + (xy[2 * i] >> 8);
    starts[cell[i] + 1]++;
  }
  for (let c = 0; c < CELLS * CELLS; c++) starts[c + 1] += starts[c];
  const next = starts.slice(), order = new Uint32Array(starts[CELLS * CELLS]);
  for (let i = 0; i < n; i++) if (cell[i] >= 0) order[next[cell[i]]++] = i;
  return { xy, starts, order, n: order.length };
}

const canvas = $("canvas"), brush = canvas.getContext("2d", { alpha: false });
let pixels = null, buffer = null, drawn = null, hovered = -1, ringed = [], asked = 0;

function resize() {
  const ratio = Math.min(devicePixelRatio || 1, 2), box = canvas.getBoundingClientRect();
  const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
  if (canvas.width !== width || canvas.height !== height || !pixels) {
    [canvas.width, canvas.height] = [width, height];
    pixels = brush.createImageData(width, height);
    buffer = new Uint32Array(pixels.data.buffer);
  }
  canvas.ratio = ratio;
}

const scaleNow = () => (view.zoom * Math.min(canvas.width, canvas.height)) / 65535;
const toScreen = (item) => [
  (drawn.xy[2 * item] - view.x) * scaleNow() + canvas.width / 2,
  (view.y - drawn.xy[2 * item + 1]) * scaleNow() + canvas.height / 2];
const onMap = (item) => drawn && drawn.xy[2 * item] !== ABSENT;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A colour as a little-endian pixel. */
function pixel(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.length === 4 ? colour[(i + 1) / 2].repeat(2)
    : colour.slice(i, i + 2), 16));
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

function draw() {
  asked = 0;
  const started = performance.now();
  resize();
  buffer.fill(pixel(style("--back")));
  if (drawn) points();
  brush.putImageData(pixels, 0, 0);
  if (drawn) marks();
  timing.redraw = performance.now() - started;
}
const redraw = () => { asked ||= requestAnimationFrame(draw); };

/** Captions as discs, images as squares, on top. */
function points() {
  const { xy } = drawn, [width, height, scale] = [canvas.width, canvas.height, scaleNow()];
  const seen = Math.max(1, drawn.n / (view.zoom * view.zoom));
  const radius = Math.min(Math.round(3 * canvas.ratio), Math.floor(Math.sqrt((width * height) / seen) / 5));
  const colours = Uint32Array.from(space.colours, (_, i) => pixel(CLASSES[i % CLASSES.length]));
  const on = Uint8Array.from(space.colours, (_, i) => !hidden.has(i));
  const left = width / 2 - view.x * scale, top = height / 2 + view.y * scale, n = xy.length / 2;
  const nImages = space.names.length;
  const paint = (from, to, round) => {
    for (let i = from; i < to; i++) {
      const colour = space.colourOf[i], px = xy[2 * i];
      if (px === ABSENT || !on[colour]) continue;
      const x = (px * scale + left) | 0, y = (top - xy[2 * i + 1] * scale) | 0;
      if (x < radius || y < radius || x >= width - radius || y >= height - radius) continue;
      if (!radius) { buffer[y * width + x] = colours[colour]; continue; }
      for (let dy = -radius; dy <= radius; dy++) {
        const half = round ? Math.round(Math.sqrt(radius * radius + 0.3 * radius - dy * dy)) : radius;
        const from = (y + dy) * width + x - half;
        buffer.fill(colours[colour], from, from + 2 * half + 1);
      }
    }
  };
  paint(nImages, n, true);
  paint(0, nImages, false);
}

function ring(item, radius, colour, dashed) {
  const [x, y] = toScreen(item);
  brush.beginPath();
  brush.setLineDash(dashed ? [3 * canvas.ratio, 2 * canvas.ratio] : []);
  brush.arc(x, y, radius * canvas.ratio, 0, 2 * Math.PI);
  brush.strokeStyle = colour;
  brush.lineWidth = 2 * canvas.ratio;
  brush.stroke();
  brush.setLineDash([]);
}

/** The picked item, lines to its partners, rings around its answers, and what is under the pointer. */
function marks() {
  const item = picked(), ink = style("--ink");
  for (const answer of ringed) {
    if (!onMap(answer)) continue;
    const right = item >= 0 && isRight(item, answer);
    ring(answer, 6, item < 0 ? ink : style(right ? "--right" : "--wrong"), item >= 0 && !right);
  }
  if (item >= 0 && onMap(item)) {
    for (const other of partners(item).filter(onMap)) {
      brush.beginPath();
      brush.moveTo(...toScreen(item));
      brush.lineTo(...toScreen(other));
      brush.strokeStyle = ink;
      brush.lineWidth = 1.5 * canvas.ratio;
      brush.stroke();
    }
    ring(item, 9, ink);
  }
  if (hovered >= 0 && onMap(hovered)) ring(hovered, 5, ink);
  if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
    const [x, y, arm] = [canvas.width / 2, canvas.height / 2, 8 * canvas.ratio];
    brush.beginPath();
    brush.moveTo(x - arm, y); brush.lineTo(x + arm, y); brush.moveTo(x, y - arm); brush.lineTo(x, y + arm);
    brush.strokeStyle = ink; brush.lineWidth = canvas.ratio; brush.stroke();
  }
}

/** The item nearest to a place on the canvas, at most `reach` pixels away; -1 if there is none. */
function itemAt(x, y, reach) {
  if (!drawn) return -1;
  const scale = scaleNow(), mx = (x - canvas.width / 2) / scale + view.x, my = view.y - (y - canvas.height / 2) / scale;
  const cell = (value) => Math.max(0, Math.min(CELLS - 1, value >> 8)), far = reach / scale;
  let best = -1, least = far * far;
  for (let row = cell(my - far); row <= cell(my + far); row++) {
    const from = drawn.starts[row * CELLS + cell(mx - far)], to = drawn.starts[row * CELLS + cell(mx + far) + 1];
    for (let k = from; k < to; k++) {
      const i = drawn.order[k];
      if (hidden.has(space.colourOf[i])) continue;
      const distance = (drawn.xy[2 * i] - mx) ** 2 + (drawn.xy[2 * i + 1] - my) ** 2;
      if (distance <= least) [best, least] = [i, distance];
    }
  }
  return best;
}

function zoomBy(factor, x = canvas.width / 2, y = canvas.height / 2) {
  const before = scaleNow(), zoom = Math.max(0.5, Math.min(500, view.zoom * factor));
  view.zoom = zoom;
  const after = scaleNow();
  view.x += (x - canvas.width / 2) * (1 / before - 1 / after);
  view.y -= (y - canvas.height / 2) * (1 / before - 1 / after);
  moved();
}

function moveBy(dx, dy) {
  view.x -= dx / scaleNow();
  view.y += dy / scaleNow();
  moved();
}

let settling = 0;
function moved() {
  redraw();
  clearTimeout(settling);
  settling = setTimeout(() => go({ at: [view.x, view.y, view.zoom].map((v) => +v.toFixed(2)).join(",") }, false), 300);
}

// ---- the page's parts ----

function element(tag, className, content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (content !== undefined) node.textContent = content; // never as HTML: captions are anybody's words
  return node;
}

function thumbnail(item, pixelsWide) {
  const image = imageOf(item), sheets = space.about.thumbnails, node = element("span", "thumb");
  node.style.width = node.style.height = `${pixelsWide}px`;
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", saying(image));
  if (sheets) {
    const perSheet = sheets.columns * sheets.rows, place = image % perSheet;
    const [row, column] = [Math.floor(place / sheets.columns), place % sheets.columns];
    node.style.backgroundImage = `url("${sheets.folder}/${Math.floor(image / perSheet)}.jpg")`;
    node.style.backgroundSize = `${sheets.columns * pixelsWide}px ${sheets.rows * pixelsWide}px`;
    node.style.backgroundPosition = `${-column * pixelsWide}px ${-row * pixelsWide}px`;
  }
  return node;
}

/** A row that picks its item when it is pressed. */
function row(item, className, before, after) {
  const node = element("li"), button = element("button", className);
  button.type = "button";
  button.dataset.item = item;
  if (before) button.append(element("span", "mark", before));
  button.append(thumbnail(item, isImage(item) ? 56 : 32), element("span", "words", saying(item)));
  if (after) button.append(element("span", "score", after));
  button.onclick = () => go({ item: String(item), q: "" });
  node.append(button);
  return node;
}

function answerRow(query, item, score) {
  const right = query >= 0 && isRight(query, item), kind = query < 0 ? "" : right ? "right" : "wrong";
  const node = row(item, `answer ${kind}`, { right: "✓", wrong: "✗" }[kind], score?.toFixed(3));
  if (kind) node.firstChild.setAttribute("aria-label", `${kind}: ${saying(item)}`);
  return node;
}

function column(title, note, rows) {
  const node = element("div", "method"), list = element("ol");
  node.append(element("h3", "", title), element("p", "", note));
  list.append(...rows);
  node.append(list);
  return node;
}

const picked = () => (state.item === "" ? -1 : Number(state.item));

async function showItem() {
  const item = picked(), box = $("picked");
  box.replaceChildren();
  $("answers").replaceChildren();
  ringed = [];
  if (item < 0) {
    if (!state.q) box.append(element("p", "", space.names.length ? "Pick a point, or type." : ""));
    return;
  }
  const isPicture = isImage(item), kind = isPicture
    ? (space.about.has_queries ? (space.isQuery[item] ? "query image" : "gallery image") : "image") : "caption";
  const big = element("div", "big"), said = element("div", "words");
  box.append(element("h2", "", `Picked: ${kind} ${NUMERAL.format(isPicture ? item : item - space.names.length)}`));
  if (isPicture) {
    const own = space.captionsOf.get(item) ?? [];
    said.append(element("div", "", space.about.classes.length ? saying(item) : space.names[item]));
    const list = element("ul");
    list.append(...own.map((one) => element("li", "words", caption(one))));
    said.append(list);
  } else {
    said.append(element("p", "", caption(item)), element("p", "score", `of image ${space.names[imageOf(item)]}`));
  }
  big.append(thumbnail(item, 96), said);
  box.append(big);
  await showAnswers(item);
}

async function showAnswers(item) {
  const shownFor = state.item, columns = [];
  for (const [number, { name, listed }] of space.about.methods.entries()) {
    const answers = await answersOf(number), place = answers.place.get(item);
    if (shownFor !== state.item) return;
    if (place === undefined) {
      const why = listed ? `Answers were computed for ${NUMERAL.format(listed)} random items, and not for this one.`
        : "It has no answers: the gallery is empty.";
      columns.push(column(name, why, []));
      continue;
    }
    const from = place * TOP, rank = answers.ranks[place];
    const found = [...answers.found.subarray(from, from + TOP)].filter((one) => one !== NOTHING);
    if (number === byNumber()) ringed = found;
    columns.push(column(name, rank ? `first right answer at rank ${NUMERAL.format(rank)}` : "nothing right to find",
      found.map((one, i) => answerRow(item, one, answers.scores[from + i]))));
  }
  $("answers").replaceChildren(...columns);
  redraw();
}

// ---- a typed caption ----

/** The words of a text, as encoders/text.py takes it apart. */
const wordsOf = (text) =>
  text.toLowerCase().match(/[\p{L}\p{N}_]+(?:['’\-][\p{L}\p{N}_]+)*|[^\p{L}\p{N}_\s!-/:-@\[-`{-~]/gu) ?? [];

/** The inner products of a query with four rows, so that each of its numbers is read once for four. */
function dots(query, rows, first, products) {
  const dim = query.length, i = first * dim, j = i + dim, k = j + dim, l = k + dim;
  let a = 0, b = 0, c = 0, e = 0;
  for (let d = 0; d < dim; d++) {
    const value = query[d];
    a = (a + Math.imul(value, rows[i + d])) | 0;
    b = (b + Math.imul(value, rows[j + d])) | 0;
    c = (c + Math.imul(value, rows[k + d])) | 0;
    e = (e + Math.imul(value, rows[l + d])) | 0;
  }
  products[first] = a; products[first + 1] = b; products[first + 2] = c; products[first + 3] = e;
}

/** The best images for a text, by the mean of its words' vectors: numbers, cosines, and the unknown words. */
function ask(model, text) {
  const { dim, row: rowOf, vectors, images } = model, sum = new Float64Array(dim), words = wordsOf(text);
  const unknown = words.filter((word) => !rowOf.has(word));
  for (const word of words) {
    const start = rowOf.get(word) * dim;
    if (start >= 0) for (let d = 0; d < dim; d++) sum[d] += vectors[start + d];
  }
  const length = Math.hypot(...sum);
  if (!length) return { found: [], scores: [], unknown };
  // Whole numbers are fastest. Rows have the length 1 / scale, so no sum of products leaves 32 bits.
  const whole = 2 ** 31 * 0.9 * model.scale, query = Int32Array.from(sum, (v) => Math.round((v / length) * whole));
  const n = images.length / dim, products = new Int32Array(n), found = [], scores = [];
  for (let first = 0; first < n; first += 4) dots(query, images, Math.max(0, Math.min(first, n - 4)), products);
  for (let i = 0; i < n; i++) {
    const score = (products[i] * model.scale) / whole;
    if (found.length === TOP && score <= scores[TOP - 1]) continue;
    let place = found.length;
    while (place > 0 && scores[place - 1] < score) place--;
    found.splice(place, 0, i);
    scores.splice(place, 0, score);
    if (found.length > TOP) { found.pop(); scores.pop(); }
  }
  return { found, scores, unknown };
}

/** Captions (or names) that hold most of a text's words; of equal ones the shorter, then the earlier. */
function wordSearch(said, text) {
  const words = [...new Set(wordsOf(text))], best = [];
  if (!words.length) return [];
  const enter = (item, hits, length) => {
    const key = hits * 1e6 - length;
    if (best.length === TOP && key <= best[TOP - 1].key) return;
    let place = best.length;
    while (place > 0 && best[place - 1].key < key) place--;
    best.splice(place, 0, { item, key, hits });
    if (best.length > TOP) best.pop();
  };
  if (!space.captions.length) {
    space.names.forEach((_, item) => {
      const name = saying(item).toLowerCase(), hits = words.filter((word) => name.includes(word)).length;
      if (hits) enter(item, hits, name.length);
    });
    return best.map(({ item }) => item);
  }
  const wanted = new Uint8Array(said.number.size);
  words.forEach((word, i) => { if (said.number.has(word)) wanted[said.number.get(word)] = Math.min(i + 1, 255); });
  const seen = new Uint32Array(256);
  for (let i = 0; i < space.captions.length; i++) {
    let hits = 0;
    for (let w = said.starts[i]; w < said.starts[i + 1]; w++) {
      const which = wanted[said.words[w]];
      if (which && seen[which] !== i + 1) { seen[which] = i + 1; hits++; }
    }
    if (hits) enter(space.names.length + i, hits, said.starts[i + 1] - said.starts[i]);
  }
  return best.map(({ item }) => item);
}

async function showTyped() {
  if (!state.q) return;
  const text = state.q, columns = [], able = space.about.methods.map((method, i) => (method.typed ? i : -1))
    .filter((i) => i >= 0);
  const [said, ...models] = await Promise.all([captionWords(), ...able.map(typedOf)]);
  if (text !== state.q) return;
  const started = performance.now();
  able.forEach((number, i) => {
    const { found, scores, unknown } = ask(models[i], text);
    const not = unknown.length ? ` It does not know: ${[...new Set(unknown)].join(", ")}.` : "";
    if (!i) ringed = found;
    columns.push(column(`${space.about.methods[number].name}, run in this page`,
      `The mean of the words' vectors, compared with every image.${not}`,
      found.map((item, k) => answerRow(-1, item, scores[k]))));
  });
  const unable = space.about.methods.filter((method) => !method.typed).map((method) => method.name);
  if (unable.length || !ringed.length) {
    const found = wordSearch(said, text);
    if (!ringed.length) ringed = found;
    const why = unable.length ? `${unable.join(" and ")} cannot run in a page; instead, ` : "";
    columns.push(column("word search", found.length ? `${why}what holds most of the words.`
      : `${why}nothing holds any of the words.`, found.map((item) => answerRow(-1, item))));
  }
  timing.search = performance.now() - started;
  $("picked").replaceChildren(element("h2", "", "Typed: "));
  $("picked").firstChild.append(element("span", "words", text));
  $("answers").replaceChildren(...columns);
  redraw();
}

// ---- lists ----

const byNumber = () => Math.max(0, space.about.methods.findIndex((method) => method.name === state.by));

async function showList() {
  const box = $("listed"), kind = state.list, methods = space.about.methods;
  box.replaceChildren();
  if (!kind || !methods.length) return;
  const by = byNumber(), answers = await answersOf(by);
  if (kind !== state.list || by !== byNumber()) return;
  let items = [], title = "";
  if (kind === "worst") {
    title = `${methods[by].name}: first right answer farthest down`;
    items = rankedBy(answers, (i) => answers.ranks[i], (i) => `rank ${NUMERAL.format(answers.ranks[i])}`);
  } else if (kind === "hubs") {
    title = `${methods[by].name}: most often among the first ${TOP}`;
    const times = new Map();
    answers.found.forEach((item) => item !== NOTHING && times.set(item, (times.get(item) ?? 0) + 1));
    items = [...times].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 100)
      .map(([item, n]) => ({ item, note: `${NUMERAL.format(n)} times` }));
  } else if (methods.length < 2) {
    title = "There is one method only: it agrees with itself.";
  } else {
    const others = await Promise.all(methods.map((_, i) => i).filter((i) => i !== by).map(answersOf));
    const ratio = (i) => Math.max(...others.map((other) => {
      const there = other.place.get(answers.items[i]);
      return there === undefined ? 1 : other.ranks[there] / answers.ranks[i];
    }));
    title = `${methods[by].name} is right, another is not: largest ratio of ranks`;
    items = rankedBy(answers, (i) => (answers.ranks[i] ? ratio(i) : 0), (i) => `× ${ratio(i).toPrecision(3)}`);
  }
  const list = element("ol");
  list.append(...items.map(({ item, note }) => row(item, "", "", note)));
  box.append(element("h2", "", title), list);
}

function rankedBy(answers, value, note) {
  const order = [...answers.items.keys()].map((i) => [i, value(i)]).filter(([, v]) => v > 1);
  order.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  return order.slice(0, 100).map(([i]) => ({ item: answers.items[i], note: note(i) }));
}

// ---- state: the address says what is shown ----

function fill(select, names, chosen) {
  select.replaceChildren(...names.map(([value, title]) => new Option(title, value, false, value === chosen)));
  select.disabled = names.length < 2;
}

function legend() {
  const round = (i) => !space.about.classes.length && i === 1;
  $("legend").replaceChildren(...space.colours.map((name, i) => {
    const button = element("button"), swatch = element("span", round(i) ? "swatch round" : "swatch");
    swatch.style.background = CLASSES[i % CLASSES.length];
    button.type = "button";
    button.setAttribute("aria-pressed", String(!hidden.has(i)));
    button.append(swatch, name);
    button.onclick = () => {
      if (!hidden.delete(i)) hidden.add(i);
      button.setAttribute("aria-pressed", String(!hidden.has(i)));
      redraw();
    };
    return button;
  }));
}

function say(lines) {
  $("missing").replaceChildren(...[...space?.about.missing ?? [], ...lines].map((line) => element("li", "", line)));
}

/** Change a part of the state, the address with it, and show it. */
function go(changes, show = true) {
  Object.assign(state, changes);
  const parts = Object.entries(state).filter(([, value]) => value !== "");
  history.replaceState(null, "", "#" + parts.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&"));
  if (!show) return;
  if ("item" in changes || "q" in changes) hovered = -1;
  return update(changes);
}

async function update(changed) {
  try {
    if ("map" in changed) await showMap();
    $("text").value = state.q;
    $("list").value = state.list;
    if ("item" in changed || "q" in changed || "by" in changed) {
      await showItem();
      await showTyped();
    }
    if ("list" in changed || "by" in changed) await showList();
    say([]);
  } catch (error) {
    say([error.message]);
  }
  redraw();
}

async function showMap() {
  const maps = space.about.maps, number = Math.max(0, maps.indexOf(state.map));
  drawn = maps.length && space.names.length ? await mapOf(number) : null;
  $("map").value = maps[number] ?? "";
  canvas.setAttribute("aria-label", drawn ? `${maps[number]}: ${NUMERAL.format(drawn.n)} points` : "No map");
}

/** Read the address; anything in it that does not exist is left out. */
async function fromAddress() {
  const given = Object.fromEntries(location.hash.slice(1).split("&").filter(Boolean).map((part) => {
    const [key, ...value] = part.split("=");
    try { return [key, decodeURIComponent(value.join("="))]; } catch { return [key, ""]; }
  }));
  const entry = spaces.find((one) => one.name === given.space) ?? spaces[0];
  if (!space || space.folder !== entry.folder) {
    await openSpace(entry);
    hidden.clear();
    const { about } = space;
    fill($("space"), spaces.map((one) => [one.name, one.title]), entry.name);
    fill($("map"), about.maps.map((name) => [name, name]), given.map);
    fill($("by"), about.methods.map(({ name }) => [name, name]), given.by);
    $("text-label").textContent = about.classes.length ? "Type a class or name" : "Type a caption";
    const listed = about.methods.filter((m) => m.listed < space.names.length + space.captions.length && m.listed);
    $("setting").textContent = about.setting + (listed.length
      ? ` Answers of ${NUMERAL.format(listed[0].listed)} random items.` : "");
    legend();
  }
  const { about } = space, total = space.names.length + space.captions.length;
  const at = (given.at ?? "").split(",").map(Number);
  const whole = at.length === 3 && at.every(Number.isFinite) && at[2] > 0;
  [view.x, view.y, view.zoom] = whole ? [at[0], at[1], Math.max(0.5, Math.min(500, at[2]))] : [32767, 32767, 1];
  const item = /^\d+$/.test(given.item ?? "") && Number(given.item) < total ? String(Number(given.item)) : "";
  await go({ space: entry.name, map: about.maps.includes(given.map) ? given.map : about.maps[0] ?? "",
    item, q: item ? "" : given.q ?? "", at: whole ? given.at : "",
    list: ["worst", "hubs", "differ"].includes(given.list) ? given.list : "",
    by: about.methods.some(({ name }) => name === given.by) ? given.by : about.methods.at(-1)?.name ?? "" });
  $("by").value = state.by;
}

// ---- hands ----

function listen() {
  $("space").onchange = (event) => { location.hash = `space=${encodeURIComponent(event.target.value)}`; };
  $("map").onchange = (event) => go({ map: event.target.value });
  $("list").onchange = (event) => go({ list: event.target.value });
  $("by").onchange = (event) => go({ by: event.target.value });
  $("search").onsubmit = (event) => {
    event.preventDefault();
    go({ q: $("text").value.trim(), item: "" });
  };
  window.onhashchange = () => fromAddress();
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  const fingers = new Map();
  let travelled = 0;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * canvas.ratio, (event.clientY - box.top) * canvas.ratio];
  };
  const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (!fingers.size) travelled = 0;
    fingers.set(event.pointerId, place(event));
  };
  canvas.onpointermove = (event) => {
    const [x, y] = place(event), before = fingers.get(event.pointerId);
    if (!before) return hover(event, itemAt(x, y, 12 * canvas.ratio));
    const apart = fingers.size === 2 ? spread() : 0;
    fingers.set(event.pointerId, [x, y]);
    travelled += Math.hypot(x - before[0], y - before[1]);
    if (apart) zoomBy(spread() / apart);
    else if (travelled > 4 * canvas.ratio) moveBy(x - before[0], y - before[1]);
  };
  canvas.onpointerup = (event) => {
    const alone = fingers.size === 1;
    fingers.delete(event.pointerId);
    if (!alone || travelled > 4 * canvas.ratio) return;
    const item = itemAt(...place(event), 12 * canvas.ratio);
    if (item >= 0) go({ item: String(item), q: "" });
  };
  canvas.onpointercancel = (event) => fingers.delete(event.pointerId);
  canvas.onpointerleave = () => hover(null, -1);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), ...place(event));
  }, { passive: false });
  canvas.onfocus = canvas.onblur = redraw;
  canvas.onkeydown = (event) => {
    const step = 40 * canvas.ratio, keys = {
      ArrowLeft: () => moveBy(step, 0), ArrowRight: () => moveBy(-step, 0), ArrowUp: () => moveBy(0, step),
      ArrowDown: () => moveBy(0, -step), "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8),
      0: () => { Object.assign(view, { x: 32767, y: 32767, zoom: 1 }); moved(); },
      Enter: () => {
        const item = itemAt(canvas.width / 2, canvas.height / 2, canvas.width);
        if (item >= 0) go({ item: String(item), q: "" });
      } };
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  };
  document.onkeydown = (event) => {
    if (event.key !== "/" || /INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    $("text").focus();
  };
}

function hover(event, item) {
  const tip = $("tip");
  if (item !== hovered) redraw();
  hovered = item;
  tip.hidden = item < 0;
  if (item < 0) return;
  tip.replaceChildren(thumbnail(item, 96), element("div", "words", saying(item)));
  const box = $("left").getBoundingClientRect(), [x, y] = [event.clientX - box.left, event.clientY - box.top];
  tip.style.left = `${Math.max(0, Math.min(x + 14, box.width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight < box.height ? y + 18 : Math.max(0, y - tip.offsetHeight - 10)}px`;
}

let spaces = [];
const ready = (async () => {
  const started = performance.now();
  try {
    spaces = await load("", "spaces");
    if (!spaces.length) throw new Error("There is no space to look around in: run notebooks 05, 07, 08 or 09.");
    listen();
    await fromAddress();
    draw();
  } catch (error) {
    say([error.message]);
  }
  timing.ready = performance.now() - started;
  document.documentElement.dataset.ready = "yes";
})();
