import { bind, type Values } from '../db/bind.ts';
import type { Transaction } from '../db/client.ts';
import type { CompiledRule } from '../job/compile.ts';
import type { Refusal } from '../store/failures.ts';
import { type Answered, addUp, type Batch, made, placesOf, type Row } from './batch.ts';
import { gradual, type InPieces, picked, trial } from './statements.ts';

// A failing batch is first cut into pieces of so many rows: with one bad row in a hundred most of them are clean.
const PIECE = 32;

// Well below what a statement may take, as rows that wait for somebody else's lock may fill it.
const PATIENCE = '10s';

interface Part extends Answered {
  rows: number;
  refused: Refusal[];
}

/** Changes rows that are locked already. The failing ones are found, and the others are changed all the same. */
export async function bisected(
  tx: Transaction,
  rule: CompiledRule,
  rows: Row[],
  values: Values,
  eventsToo: boolean,
): Promise<Batch> {
  const pick = picked(rule);
  const all = { ...values, piece: PIECE, claimed: rows.length };
  // Rows that one statement must change together are tried in pieces, and then changed as one.
  if (!eventsToo && !rule.together?.family && !rule.make)
    return addUp((await inPieces(tx, gradual(rule, pick), rows, { ...all, keep: true })).map(made));
  const tried = await inPieces(tx, trial(rule, pick), rows, { ...all, keep: false });
  const bad = tried.flatMap((part) => part.refused);
  const badIds = new Set(bad.map(({ id }) => id));
  const good = rows.filter(({ id }) => !badIds.has(id));
  const parts = await inPieces(tx, gradual(rule, pick), good, { ...all, piece: good.length, keep: true }, bad);
  return addUp(parts.map(made));
}

/** Works on rows in pieces. A piece that fails is halved until its bad rows stand alone. */
async function inPieces(
  tx: Transaction,
  { piece, whole }: InPieces,
  rows: Row[],
  values: Values,
  before: Refusal[] = [],
): Promise<Part[]> {
  const { text: statement, values: parameters } = bind(piece, values, ['places', 'ids']);
  const parts: Part[] = [];
  let from = 0;
  let { run } = values;
  do {
    const [part] = await tx.query<Part>(whole, {
      ...{ ...values, statement, parameters, patience: PATIENCE, run },
      ...{ ...placesOf(rows.slice(from)), before: JSON.stringify(from === 0 ? before : []) },
    });
    parts.push(part!);
    run = part!.run ?? run;
    from += part!.rows;
  } while (from < rows.length);
  return parts;
}
