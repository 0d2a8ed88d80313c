// Point at a picture and see the class there; point at a class in the legend and see where it is.
// Gradio's AnnotatedImage is a photo with one transparent image per class; the legend's rows have the same order.
(() => {
  const SAMPLE_WIDTH = 480; // masks are looked up in copies of this width
  const samples = new Map(); // mask address -> its alpha values

  const masksOf = (box) => [...box.querySelectorAll("img.mask")];
  const rows = () => [...document.querySelectorAll("#legend [data-index]")];

  function sample(mask) {
    if (!samples.has(mask.src)) {
      if (!mask.naturalWidth) return null;
      if (samples.size > 64) samples.clear();
      const canvas = document.createElement("canvas");
      canvas.width = Math.min(SAMPLE_WIDTH, mask.naturalWidth);
      canvas.height = Math.max(1, Math.round((canvas.width * mask.naturalHeight) / mask.naturalWidth));
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(mask, 0, 0, canvas.width, canvas.height);
      const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
      const alpha = new Uint8Array(canvas.width * canvas.height);
      for (let k = 0; k < alpha.length; k++) alpha[k] = pixels[4 * k + 3];
      samples.set(mask.src, { width: canvas.width, height: canvas.height, alpha });
    }
    return samples.get(mask.src);
  }

  function indexAt(box, event) {
    const frame = box.querySelector("img.base-image").getBoundingClientRect();
    const x = (event.clientX - frame.left) / frame.width;
    const y = (event.clientY - frame.top) / frame.height;
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return -1;
    return masksOf(box).findIndex((mask) => {
      const { width, height, alpha } = sample(mask) ?? { width: 0, height: 0, alpha: [] };
      return alpha[Math.floor(y * height) * width + Math.floor(x * width)] > 127;
    });
  }

  function highlight(index) {
    const box = document.querySelector("#masks .image-container");
    if (box) masksOf(box).forEach((mask, k) => mask.classList.toggle("faded", index >= 0 && k !== index));
    rows().forEach((row, k) => row.classList.toggle("lit", k === index));
  }

  function showTip(index, event) {
    let tip = document.getElementById("class-tip");
    if (!tip) {
      tip = document.createElement("div");
      tip.id = "class-tip";
      tip.setAttribute("role", "status");
      document.body.append(tip);
    }
    const row = rows()[index];
    tip.hidden = !row;
    if (!row) return;
    const name = row.querySelector(".name").cloneNode(true);
    const share = document.createElement("b");
    share.textContent = row.querySelector(".share").textContent;
    tip.replaceChildren(name, share);
    const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    tip.style.transform = `translate(${left}px, ${event.clientY + 18}px)`;
  }

  function follow(event) {
    const box = event.target.closest?.("#masks .image-container");
    const row = event.target.closest?.("#legend [data-index]");
    if (!box && !row) return leave();
    const index = row ? Number(row.dataset.index) : indexAt(box, event);
    highlight(index);
    showTip(box ? index : -1, event);
    active = true;
  }

  let active = false;
  function leave() {
    if (!active) return;
    active = false;
    highlight(-1);
    showTip(-1);
  }

  document.addEventListener("pointermove", follow, { passive: true });
  document.addEventListener("pointerdown", follow, { passive: true });
  document.addEventListener("focusin", (event) => {
    if (event.target.closest?.("#legend [data-index]")) follow(event);
  });
  document.addEventListener("focusout", leave);
})();
