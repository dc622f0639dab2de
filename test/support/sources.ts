/** The comments of a TypeScript, JavaScript or SQL file, and the texts in its quotes. A value in a template becomes "…". */

export interface Words {
  comments: string[];
  texts: string[];
}

// A slash behind one of these begins a regular expression, and behind anything else it divides.
const BEFORE_PATTERN = /(?:^|[(,=:[!&|?{};\n>]|\breturn)\s*$/;

const PARTS =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|[`{}]|\/(?![/*])(?:\[(?:[^\]\\\n]|\\.)*\]|[^/[\\\n]|\\.)+\//g;

export function wordsOfScript(script: string): Words {
  const [comments, texts]: [string[], string[]] = [[], []];
  let place = 0;
  let lastComment = -1;
  /** The templates that are open: their texts so far, and how many braces are open in the value at hand. */
  const open: { text: string; braces: number }[] = [];
  for (;;) {
    const template = open.at(-1);
    if (template?.braces === 0) {
      const [read, end] = /^(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(`|\$\{)/.exec(script.slice(place))!;
      template.text += read!.slice(0, -end!.length);
      place += read!.length;
      if (end === '`') texts.push(open.pop()!.text);
      else Object.assign(template, { text: `${template.text}…`, braces: 1 });
      continue;
    }
    PARTS.lastIndex = place;
    const found = PARTS.exec(script);
    if (!found) return { comments, texts };
    const [part] = found;
    const before = script.slice(place, found.index);
    if (part.startsWith('//')) {
      const goesOn = lastComment === place && /^\s*$/.test(before);
      if (goesOn) comments.push(`${comments.pop()} ${part.slice(2)}`);
      else comments.push(part.slice(2));
    } else if (part.startsWith('/*')) comments.push(part.slice(2, -2).replace(/^\s*\*+ ?/gm, ' '));
    else if (part === '`') open.push({ text: '', braces: 0 });
    else if (part === '{' && template) template.braces++;
    else if (part === '}' && template) template.braces--;
    else if (/^['"]/.test(part)) texts.push(part.slice(1, -1));
    else if (part.startsWith('/') && !BEFORE_PATTERN.test(script.slice(Math.max(0, found.index - 40), found.index))) {
      place = found.index + 1;
      continue;
    }
    place = found.index + part.length;
    // A comment behind code does not go on in the next line.
    if (part.startsWith('//') && /(^|\n)\s*$/.test(script.slice(0, found.index))) lastComment = place;
  }
}

/** For a language whose comments go to the end of the line. Lines with nothing before them make one comment. */
const commentsBehind = (mark: string) => (script: string) =>
  [...script.matchAll(new RegExp(`(?:^[ \\t]*${mark}[^\\n]*\\n?)+|(?<=\\s)${mark} [^\\n]*`, 'gm'))].map(([part]) =>
    part.replace(new RegExp(`^\\s*${mark}`, 'gm'), ' ').trimEnd(),
  );

export const commentsOfSql = commentsBehind('--');
export const commentsOfShell = commentsBehind('#');
