"use strict";
// The picture on the screen: how it gets there, zooming and panning, and what is lit in it.

const CLOSEST = 8; // scale at most
const COSY = 1.4; // the largest scale that is chosen for the reader
const READABLE = 0.35; // and the smallest that it chooses, unless all is asked for

function makeView(canvas) {
  const picture = canvas.querySelector("#picture");
  const sheet = picture.querySelector("#sheet");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let at = { x: 0, y: 0, k: 1 };
  let size = { width: 1, height: 1 };
  let places = new Map(); // key -> {x, y, width, height} on the sheet
  // Of the window on the picture. To ask the canvas each time would cost a layout of the picture.
  const room = {};
  // The line at the lower edge is kept free.
  const measure = () =>
    Object.assign(room, { width: canvas.clientWidth, height: canvas.clientHeight - 30 });
  measure();
  new ResizeObserver(measure).observe(canvas);
  let seen = null; // what `look` returned for what is shown

  // --- where things are ------------------------------------------------------------------------

  const apply = (glide = false) => {
    sheet.classList.toggle("glide", glide && !still.matches);
    sheet.style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.k})`;
  };
  const zoomAt = (factor, x = room.width / 2, y = room.height / 2, glide) => {
    const least = Math.min(scaleToFit(), READABLE) / 2;
    const k = Math.min(CLOSEST, Math.max(least, at.k * factor));
    at = { x: x - ((x - at.x) * k) / at.k, y: y - ((y - at.y) * k) / at.k, k };
    apply(glide);
  };
  const pan = (dx, dy, glide) => {
    at = { ...at, x: at.x + dx, y: at.y + dy };
    apply(glide);
  };
  /** The scales at which the picture is as wide and as high as the window. */
  const scales = () => [(room.width - 24) / size.width, (room.height - 24) / size.height];
  const scaleToFit = () => Math.max(0.001, Math.min(...scales()));
  /** Show all of the picture. */
  const fit = ({ glide = true } = {}) => {
    const k = Math.min(COSY, scaleToFit());
    at = { k, x: (room.width - size.width * k) / 2, y: (room.height - size.height * k) / 2 };
    apply(glide);
  };
  /** Show all, or if that could not be read, what the numbers begin with. */
  const begin = () => {
    fit({ glide: false });
    if (at.k >= READABLE) return;
    // A long chain is as large as its height allows.
    const k = Math.min(0.8, Math.max(READABLE, ...scales()));
    const first = middle(places.get(seen.boxOf[0]));
    // In each direction in the middle, or if it is too long, at a place but within its ends.
    const offset = (wanted, length, whole) =>
      length <= whole ? (whole - length) / 2 : Math.min(12, Math.max(whole - 12 - length, wanted));
    at = {
      k,
      x: offset(room.width / 4 - first.x * k, size.width * k, room.width),
      y: offset(room.height / 2 - first.y * k, size.height * k, room.height),
    };
    apply();
  };
  const middle = ({ x, y, width, height }) => ({ x: x + width / 2, y: y + height / 2 });
  const onScreen = ({ x, y }) => ({ x: x * at.k + at.x, y: y * at.k + at.y });
  const centre = (key) => {
    const place = places.get(key);
    if (!place) return;
    measure();
    const { x, y } = onScreen(middle(place));
    if (at.k < READABLE) {
      const k = 0.9;
      const m = middle(place);
      at = { k, x: room.width / 2 - m.x * k, y: room.height / 2 - m.y * k };
      apply(true);
    } else pan(room.width / 2 - x, room.height / 2 - y, true);
  };
  /** Bring boxes into the window, if one of them is out of it. */
  const reveal = (keys) => {
    const found = keys.map((key) => places.get(key)).filter(Boolean);
    if (!found.length) return;
    measure();
    const low = onScreen({
      x: Math.min(...found.map((p) => p.x)),
      y: Math.min(...found.map((p) => p.y)),
    });
    const high = onScreen({
      x: Math.max(...found.map((p) => p.x + p.width)),
      y: Math.max(...found.map((p) => p.y + p.height)),
    });
    const shift = (from, to, length) => {
      if (to - from > length - 32) return null;
      return from < 16 ? 16 - from : to > length - 16 ? length - 16 - to : 0;
    };
    const dx = shift(low.x, high.x, room.width);
    const dy = shift(low.y, high.y, room.height);
    if (dx === null || dy === null) {
      if (keys.length > 1) reveal(keys.slice(0, 1));
    } else if (dx || dy) pan(dx, dy, true);
  };

  /** Bring a place that may be larger than the window into it, as far as it can be read. */
  const contain = ({ x, y, width, height }) => {
    const [roomX, roomY] = [room.width - 32, room.height - 32];
    const k = Math.max(READABLE, Math.min(at.k, roomX / width, roomY / height));
    const now = onScreen({ x, y });
    const offset = (from, length, whole) => Math.max(16, Math.min(from, whole + 16 - length));
    at = {
      k,
      x: offset(now.x, width * k, roomX) - x * k,
      y: offset(now.y, height * k, roomY) - y * k,
    };
    apply();
  };

  // --- a new picture -----------------------------------------------------------------------------

  /**
   * Put a picture in place of the one before. `anchor` [key before, key now] stays where it was;
   * `describe` gives a box's or a cluster's name for those who hear the page.
   */
  const show = (source, view, { anchor, describe }) => {
    const picture = readPicture(source);
    const before = { places, at, seen };
    size = picture.size;
    seen = view;
    sheet.replaceChildren(picture.drawing);
    places = preparePicture(picture, describe);
    const [first] = view.tree;
    if (first) rove(handleOf(first.box ? first.box.key : `c${first.cluster.id}`));
    const [was, is] = anchor ? [before.places.get(anchor[0]), places.get(anchor[1])] : [];
    if (was && is) {
      // The corner with the title, for frames: they may be larger than the window.
      const [from, to] = [corner(was, is), corner(is, was)];
      pan((from.x - to.x) * at.k, (from.y - to.y) * at.k);
      // A picture that has become small is shown whole.
      if (at.k < Math.min(COSY, scaleToFit())) fit({ glide: false });
      else contain(is);
      move(before);
    } else begin();
  };
  const corner = (place, other) => {
    const frame = Math.abs(place.width - other.width) + Math.abs(place.height - other.height) > 1;
    return frame ? { x: place.x, y: place.y } : middle(place);
  };

  /** Let boxes travel from where they, or what they were in, stood. */
  const move = (before) => {
    if (still.matches || places.size > 500) return;
    const from = (key) => {
      const known = before.places.get(key);
      if (known) return known;
      if (key.startsWith("n")) return before.places.get(before.seen.boxOf[Number(key.slice(1))]);
      return before.places.get(`c${key.slice(1)}`);
    };
    const timing = { duration: 260, easing: "ease-out" };
    for (const element of sheet.querySelectorAll(".node, .edge, .cluster")) {
      const [was, is] = [from(element.id), places.get(element.id)];
      if (was && is && element.classList.contains("node")) {
        const [a, b] = [middle(was), middle(is)];
        const x = (a.x * before.at.k + before.at.x - at.x) / at.k - b.x;
        const y = (a.y * before.at.k + before.at.y - at.y) / at.k - b.y;
        const opacity = before.places.has(element.id) ? 1 : 0;
        element.animate(
          [
            { transform: `translate(${x}px, ${y}px)`, opacity },
            { transform: "none", opacity: 1 },
          ],
          timing,
        );
      } else element.animate([{ opacity: 0 }, { opacity: 0 }, { opacity: 1 }], timing);
    }
  };

  // --- light -------------------------------------------------------------------------------------

  const element = (key) => sheet.querySelector(`[id="${key}"]`);
  /** Give a class to these parts of the picture and to no others. */
  const mark = (name, keys) => {
    for (const old of sheet.querySelectorAll(`.${name}`)) old.classList.remove(name);
    for (const key of keys) element(key)?.classList.add(name);
  };
  const handleOf = (key) => element(key)?.querySelector(".handle") ?? element(key);
  /** Let the keyboard's focus come back to this part. */
  const rove = (target) => {
    for (const old of sheet.querySelectorAll('[tabindex="0"]')) old.setAttribute("tabindex", "-1");
    target.setAttribute("tabindex", "0");
  };
  const focus = (key) => {
    const target = handleOf(key);
    if (!target) return;
    rove(target);
    target.focus({ preventScroll: true });
    reveal([key]);
  };

  // --- paper -------------------------------------------------------------------------------------

  addEventListener("beforeprint", () => {
    picture.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  });
  addEventListener("afterprint", () => picture.removeAttribute("viewBox"));
  canvas.addEventListener("scroll", () => canvas.scrollTo(0, 0)); // browsers scroll to what has focus

  return {
    show,
    fit,
    zoomAt,
    pan,
    centre,
    reveal,
    element,
    mark,
    rove,
    focus,
    places: () => places,
    sheet,
  };
}
