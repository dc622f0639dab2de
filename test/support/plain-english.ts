/** The constructions that make a sentence hard to read, as far as a program can find them. CONTRIBUTING.md has the rules. */

/** Words of ours for which the field has a word. */
const PRIVATE: [RegExp, string][] = [
  [/\bat rest\b/i, 'say "idle"'],
  [/\bthat is well\b/i, 'say "nothing is wrong"'],
  [/\bit is not true that\b/i, 'say which condition is not met'],
  [/\bby trial\b/i, 'say "bisected"'],
  [/\bto be known\b/i, 'say "warning"'],
  [/\bfailed, .* fine\b/i, 'say "ok"'],
];

const SUBJECT = /^(?:and |but |so |then )?(?:who|whoever|whom|whose|of|so many|so few)\b/i;

/** A question may begin with "Who", and "of course" is no subject. */
const AS_USUAL = /\?$|^of course\b/i;

// A comment may begin with "What is due", as a name for the thing below it. A sentence such as "What is due gets done" has a second
// verb that no conjunction brings in.
const INFINITIVE = '(?:be|have|do|go|make|put|\\w+ed)';
const AUXILIARY = `(?:may|can|cannot|must|will|would|has|have|had|does|do|did)(?: not)?(?: ${INFINITIVE}\\b|(?! ${INFINITIVE}\\b))`;
const BE = '(?:is|are|was|were|gets)';
const VERB =
  'says|adds|uses|lies|follows|remembers|starts|belongs|stops|makes|needs|knows|reads|writes|holds|finds|goes|stays|comes|gains|wins|counts|ends';
const PAST = '\\w+ed|met|made|kept|left|found|sent|held|took|saw|said|put';
const TWO_VERBS = new RegExp(
  `\\b(?:${AUXILIARY}|${BE}|${VERB}|${PAST})\\b(?<rest>.*?)\\b(?:${AUXILIARY}|${BE}|${VERB})\\b`,
  'i',
);
const BRINGS_IN =
  /[,;:(]|\b(?:that|which|who|whose|whom|what|if|when|where|while|because|whether|as|nor|than|though|until|since|and|or|but|how|why)\b/i;

function isSentenceOfWhat(sentence: string): boolean {
  const found = TWO_VERBS.exec(sentence.replace(/^what /i, ''));
  return found !== null && !BRINGS_IN.test(found.groups!.rest!);
}

export interface Where {
  /** It may be a name for what follows it. */
  isHead?: boolean;
  /** How many words a sentence may have. */
  most?: number;
}

/** What is wrong with a sentence. */
export function faultOf(
  sentence: string,
  { isHead = false, most = Number.POSITIVE_INFINITY }: Where,
): string | undefined {
  const words = sentence.trim().replace(/^["“*_`(]+/, '');
  if (SUBJECT.test(words) && !AS_USUAL.test(words)) return 'its subject is a clause: begin with a noun';
  if (/^what\b/i.test(words) && !/\?["*]*$/.test(words) && (!isHead || isSentenceOfWhat(words)))
    return 'its subject is a clause: begin with a noun';
  const private_ = PRIVATE.find(([pattern]) => pattern.test(words));
  if (private_) return private_[1];
  const count = words.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length;
  return count > most ? `it has ${count} words` : undefined;
}

/** The sentences of a text. A semicolon and a colon end one, too, if a capital letter follows. */
export const sentencesOf = (text: string): string[] =>
  text
    .replace(/\s+/g, ' ')
    .trim()
    .split(/(?<=[.!?;:]["”)]?(?:\*\*)?) (?=["“(]?[A-Z`*[])/);
