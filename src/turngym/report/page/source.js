// Where the data comes from: packed into this file, or served live by `turngym view`.

const source = {
  live: !byId("head"),
  head: null,
  tag: "",
  chunks: new Map(), // key -> promise of records, the newest last
  kept: 48,

  /** Reads the head; true if it is new. */
  async refresh() {
    if (!this.live) {
      this.head = await unpack(byId("head").textContent);
      return true;
    }
    const answer = await fetch("head", { headers: { "If-None-Match": this.tag } });
    if (answer.status === 304) return false;
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    this.tag = answer.headers.get("ETag") ?? "";
    this.head = await answer.json();
    return true;
  },

  /** The records of one chunk; null where the file has no room for them. */
  chunk(shelf, start) {
    const { run, file, size } = this.head.shelves[shelf];
    const key = `${run}/${file}/${start}/${this.live ? size : ""}`;
    if (!this.chunks.has(key)) {
      this.chunks.set(key, this.read(shelf, start));
      for (const old of [...this.chunks.keys()].slice(0, -this.kept)) this.chunks.delete(old);
    }
    return this.chunks.get(key);
  },

  async read(shelf, start) {
    if (!this.live) {
      const packed = byId(`chunk-${shelf}-${start}`);
      return packed ? unpack(packed.textContent) : null;
    }
    const { run, file } = this.head.shelves[shelf];
    const answer = await fetch(`chunk/${run}/${encodeURIComponent(file)}/${start}`);
    return answer.ok ? answer.json() : null;
  },

  async record(card) {
    const start = card.place - (card.place % this.head.chunk);
    const records = await this.chunk(card.shelf, start);
    return records ? records[card.place - start] : null;
  },
};

/** JSON out of base64 of gzip. */
async function unpack(text) {
  const packed = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** The list, one object per trajectory, out of the head's columns. */
function readCards(head) {
  const columns = head.cards;
  const names = Object.keys(columns);
  const cards = [];
  head.shelves.forEach((shelf, number) => {
    for (let place = 0; place < shelf.size; place++) {
      const card = { shelf: number, place, run: shelf.run, kind: shelf.kind, label: shelf.label, step: shelf.step };
      card.key = `${shelf.run}/${shelf.file}/${place}`;
      for (const name of names) card[name] = columns[name][cards.length];
      card.haystack = `${card.task} ${card.episode} ${card.group}`.toLowerCase();
      cards.push(card);
    }
  });
  return cards;
}
