/** A reader of XML that is as strict as the map needs: tags that close, attributes once, entities that exist. */
import assert from "node:assert/strict";

const NAME = "[A-Za-z_][\\w:.-]*";
const ATTRIBUTE = new RegExp(`\\s+(${NAME})=(?:"([^"<]*)"|'([^'<]*)')`, "g");
const TOKEN = new RegExp(`<(/?)(${NAME})((?:\\s+${NAME}=(?:"[^"<]*"|'[^'<]*'))*)\\s*(/?)>|([^<]+)`, "y");
const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" };
const FORBIDDEN = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;

/**
 * The text of each element that has some, trimmed.
 * @throws AssertionError where it is not well-formed
 */
export function textsOf(xml: string): string[] {
  assert.doesNotMatch(xml, FORBIDDEN, "a character that XML has not");
  const open: string[] = [];
  const texts: string[] = [];
  let roots = 0;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < xml.length) {
    const at = TOKEN.lastIndex;
    const token = TOKEN.exec(xml);
    assert.ok(token, `not well-formed at ${at}: ${xml.slice(at, at + 80)}`);
    const [, closing, name, attributes = "", empty, text] = token;
    if (text !== undefined) {
      const plain = decoded(text).trim();
      assert.ok(plain === "" || open.length > 0, `text outside of the root: ${plain}`);
      if (plain) texts.push(plain);
    } else if (closing) assert.equal(open.pop(), name, `closed at ${at}`);
    else {
      if (open.length === 0) roots++;
      const names = [...attributes.matchAll(ATTRIBUTE)].map(([, key, one, other]) => {
        decoded(one ?? other ?? "");
        return key;
      });
      assert.equal(new Set(names).size, names.length, `an attribute twice in ${name}`);
      if (!empty) open.push(name as string);
    }
  }
  assert.deepEqual(open, [], "elements that are not closed");
  assert.equal(roots, 1, "one root");
  return texts;
}

const decoded = (text: string): string =>
  text.replaceAll(/&([^;]*;?)/g, (_, entity: string) => {
    const name = entity.endsWith(";") ? entity.slice(0, -1) : "";
    assert.ok(Object.hasOwn(ENTITIES, name), `&${entity} is no entity`);
    return ENTITIES[name] as string;
  });
