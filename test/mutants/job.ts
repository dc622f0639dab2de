import { harmless, inFile, type Mutant } from './mutant.ts';

export const JOB: Mutant[] = [
  ...inFile('src/job/adopt.ts', 'jobs/text-sessions/adoption#nothing is put beside it', [
    ['if (obstacles.length > 0) return obstacles;', ''],
    ['table.ours && table !== job.table', 'table.ours', 'store/uninstall#leaves an application as it was'],
    [
      'if ((isOurs || table !== job.table) && never',
      'if (isOurs && never',
      'jobs/hotspot/payments#no price or duration',
    ],
    ['table.ours ? MADE_FOR_ITSELF : MADE)', 'MADE)', 'store/uninstall#leaves an application as it was'],
  ]),
  ...inFile('src/job/compile.ts', 'jobs/text-sessions/adoption#a Prisma database', [
    ['found.columns[storedKey(job.table)]!', "'bigint'"],
  ]),
  ...inFile('src/job/define.ts', 'engine/same-ids#a rule that succeeds', [
    ['f.job = ${job} and f.rule = ${rule} and', 'f.job = ${job} and'],
    ['f.tenant = ${tenant} and f.job = ${job} and', 'f.tenant = ${tenant} and', 'engine/same-ids#two jobs have rows'],
    ['f.next_attempt_at > :now', 'f.next_attempt_at >= :now', 'engine/bad-rows#is retried after 5 minutes'],
  ]),
  ...inFile('src/job/expressions.ts', 'job/expressions', [["['now', 'due_at', 'select']", "['now', 'due_at']"]]),
  ...inFile('src/job/indexes.ts', 'job/adopt#built beforehand', [
    ['!isMarked(present.comment) || present.comment', 'present.comment'],
    ['if (others || ours) return;', 'if (ours) return;', 'job/adopt#gets no second index'],
    ["is not null and ${c}::text <> ''`", 'is not null`', 'jobs/hotspot/payments#cannot be stored twice'],
    ['if (taken) throw nameTaken(place);', '', 'strangers/migrating#of an index that is needed'],
  ]),
  ...inFile('src/job/rights.ts', 'job/rights#is what', [
    ["{ table: 'scheduler.holds', rights: ['select', 'update'] }", "{ table: 'scheduler.holds', rights: ['select'] }"],
  ]),
  ...inFile('src/job/tables.ts', 'jobs/text-sessions/adoption#an id of the type', [
    ['table.recognisedBy.every((name)', 'table.recognisedBy.some((name)', 'job/adopt#is left alone'],
    ['format_type(a.atttypid, a.atttypmod)', 'format_type(a.atttypid, null)'],
  ]),
  ...harmless('src/job/tables.ts', [
    ['a.attnum > 0 and not a.attisdropped', 'a.attnum > 0', 'a column that was dropped has no name that anybody uses'],
  ]),
  ...inFile('src/job/writing.ts', 'own/uses#rows that a job inserts', [
    ["note('select', 'insert');", "note('insert');", 'job/rights#is what'],
    ['const other = TEXT.test(found.columns[stored]!)', 'const other = false', 'own/switching#Laravel'],
  ]),
  ...inFile('src/job/lay.ts', 'own/uses#works on a table of other names', [
    ['table: over(builtIn.table),', 'table: builtIn.table,'],
    ['...{ name, summary, everyMinutes, isLaid: true },', '', 'own/uses#used twice'],
  ]),
  ...inFile('src/job/tables.ts', 'own/uses#works on a table of other names', [
    ["const where = table.where === undefined ? ''", "const where = true ? ''"],
  ]),
  ...inFile('src/job/define.ts', 'engine/log#unless rows failed', [
    ['failed === 0\n      ? info(message)', 'failed >= 0\n      ? info(message)'],
  ]),
  ...inFile('src/job/refusing.ts', 'job/refusing#which column a new row would lack', [
    ['filter((column) => !notNull[column] && !given.has(column))', 'filter((column) => !given.has(column) && false)'],
  ]),
  ...harmless('src/job/writing.ts', [
    [
      'Number(length) >= UUID_LENGTH',
      'Number(length) > UUID_LENGTH',
      'an id of 32 digits is as good as one of 36 characters',
    ],
  ]),
  ...harmless('src/job/tables.ts', [
    [
      "if (kind === 'instant') return hasZone ? column :",
      "if (kind === 'instant') return !hasZone ? column :",
      'the session is in the same zone',
    ],
  ]),
];
