import { inFile, type Mutant } from './mutant.ts';

export const OWN: Mutant[] = [
  ...inFile('src/own/names.ts', 'own/names', [
    ["key === 'id' ? TAKEN : [...TAKEN, 'id']", 'TAKEN'],
    ["['due_at', 'now', 'place'", "['due_at', 'now'"],
    ['reads.map((name) => inner.get(name) ?? name)', 'reads'],
  ]),
  ...inFile('src/engine/narrow.ts', 'own/rules#column that was renamed', [
    ['missing.length === 0 || others.length === 0', 'true'],
    ['Object.hasOwn(found.columns, storedName(table, name))', 'name in found.columns'],
  ]),
  ...inFile('src/own/differences.ts', 'own/doctor#columns that no rule', [
    ['was.uses || others.length > 0 ? () => true : isNamed', '() => true'],
  ]),
  ...inFile('src/own/raising.ts', 'own/raising', [
    ["exception when others then return '-infinity';", ''],
    ['set timezone = ${quoteText(dbZone)}', ''],
    ["and refobjid = p.oid and deptype = 'n'", 'and refobjid = p.oid and false'],
  ]),
  ...inFile('src/own/build.ts', 'own/raising', [
    ['.filter(isUsed)', '', 'own/strangers#a column that no rule names'],
    ['apart.push(HAS_COME);', ''],
    ['column === making.key', 'column === null', 'own/faults'],
    ['|| reading.returns', '', 'own/faults'],
  ]),
  ...inFile('src/own/event.ts', 'own/events', [['length(${name}::text) <= ${LONGEST_JSON}', 'true']]),
  ...inFile('src/own/rename.ts', 'own/failures', [
    [
      'update scheduler.jobs set name = :name::text where name',
      'update scheduler.jobs set name = :was::text where name',
    ],
  ]),
  ...inFile('src/own/sql.ts', 'own/faults', [["/e'(?:[^'\\\\]|\\\\[\\s\\S]|'')*'|", '/']]),
  ...inFile('src/own/places.ts', 'own/faults', [
    ['quote === "\'" && text[at] === "\'"', 'false'],
    ['if (!isAtEnd) skip();', 'skip();'],
    ['offset === undefined ? pair.offset : pair.from', 'pair.from'],
  ]),
  ...inFile('src/own/fit.ts', 'own/switching#lose money', [
    ['(table.ours || !table.recognisedBy.includes(name))', 'true'],
    ['written.has(column) && ', 'false && '],
  ]),
  ...inFile('src/own/use.ts', 'own/switching#SQL of a plan', [["${began ? fill : ''}", '']]),
  ...inFile('src/job/writing.ts', 'own/switching#in Laravel', [['(changed.get(name) ?? ', '(undefined ?? ']]),
  ...inFile('src/job/add-columns.ts', 'own/switching#in Laravel', [
    ['return ours ? there.replace', 'return false ? there.replace'],
  ]),
  ...inFile('src/jobs/hotspot/payments.ts', 'own/switching#in Laravel', [
    ["? ['phone_number::text',", "? ['null::text',"],
    ['isNumber(t) || ', ''],
  ]),
];
