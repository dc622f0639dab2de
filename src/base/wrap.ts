/** How wide a text is on a terminal, and how it is broken into lines. */

const NARROW = /^[ -~]*$/;
const NO_COLUMN = /[\p{Mn}\p{Me}\u200b-\u200d\u2060-\u2064\ufeff]/u;
const TWO_COLUMNS =
  /[\p{Emoji_Presentation}\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{16fe0}-\u{18fff}\u{1b000}-\u{1b2ff}\u{1f300}-\u{1f64f}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/u;

const widthOfOne = (character: string) => (NO_COLUMN.test(character) ? 0 : TWO_COLUMNS.test(character) ? 2 : 1);

/** East Asian characters take two columns, combining marks none. */
export const widthOf = (text: string): number =>
  NARROW.test(text) ? text.length : [...text].reduce((sum, character) => sum + widthOfOne(character), 0);

/** The part that fits into so many columns, which is one character at least. */
function head(text: string, width: number): string {
  let [end, taken] = [0, 0];
  for (const character of text) {
    taken += widthOfOne(character);
    if (taken > width && end > 0) break;
    end += character.length;
  }
  return text.slice(0, end);
}

export const cut = (text: string, width: number): string =>
  widthOf(text) > width ? `${head(text, width - 1).trimEnd()}…` : text;

export const padded = (text: string, width: number, toTheRight: boolean): string => {
  const space = ' '.repeat(Math.max(0, width - widthOf(text)));
  return toTheRight ? space + text : text + space;
};

/** Where a line may end. */
export const WORDS = /(?<= |[a-z]{3}-)(?=\S)/;

/** A text in lines of that width, broken between words where it can be. */
export function wrap(text: string, width: number): string[] {
  if (widthOf(text) <= width) return [text.trimEnd()];
  const lines = [''];
  for (let word of text.split(WORDS)) {
    if (lines.at(-1) !== '' && widthOf((lines.at(-1) + word).trimEnd()) > width) lines.push('');
    while (widthOf(word.trimEnd()) > width) {
      const part = head(word, width);
      if (part === word) break;
      lines.splice(-1, 1, part, '');
      word = word.slice(part.length);
    }
    lines.push(lines.pop() + word);
  }
  return lines.map((line) => line.trimEnd());
}
