/** A JSON Schema of the jobs file, for editors. */

const TEXT = { type: 'string' };
const CONDITIONS = { oneOf: [TEXT, { type: 'object', additionalProperties: TEXT }] };
const LIST = { oneOf: [TEXT, { type: 'array', items: TEXT }] };

const described = (schema: object, description: string) => ({ ...schema, description });

const EVENT = {
  oneOf: [
    TEXT,
    {
      type: 'object',
      required: ['type'],
      additionalProperties: false,
      properties: {
        type: TEXT,
        channels: described(LIST, 'NOTIFY channels; {column} is the value of a column'),
        data: described(LIST, 'the columns that listeners read'),
        message: described(TEXT, 'a sentence; {column} is the value of a column'),
      },
    },
  ],
};

const RULE = {
  type: 'object',
  required: ['due'],
  additionalProperties: false,
  properties: {
    due: described(
      { oneOf: [TEXT, { type: 'object', required: ['date', 'time'], properties: { date: TEXT, time: TEXT } }] },
      'COLUMN [± N UNIT | ± COLUMN [UNIT]] [at HH:MM], or SQL',
    ),
    where: described(CONDITIONS, 'one condition, or several by name'),
    set: described(TEXT, 'COLUMN = VALUE, ...; now and due_at are the instants'),
    repeat: described(TEXT, 'moves the due column on: 1 month'),
    delete: { const: true },
    once: described(TEXT, 'the column that keeps the due time it acted on'),
    late: described(TEXT, 'with "once": a row that is later is missed'),
    fails: described({ type: 'object', additionalProperties: TEXT }, 'a sentence and its condition'),
    also: described(LIST, 'insert into ... select ... from changed'),
    event: EVENT,
  },
};

const OF_JOB = {
  every: described(TEXT, 'one minute to one day'),
  summary: TEXT,
  was: described(TEXT, 'a former name'),
};

const OWN = {
  type: 'object',
  required: ['table', 'rules'],
  additionalProperties: false,
  properties: {
    table: TEXT,
    id: described(TEXT, 'the column that names a row'),
    zone: described(TEXT, 'a column or the name of a time zone'),
    where: CONDITIONS,
    ...OF_JOB,
    rules: { type: 'object', additionalProperties: RULE },
  },
};

const ASSIGNMENTS = { oneOf: [TEXT, { type: 'object', additionalProperties: TEXT }] };
const COLUMNS = { type: 'object', additionalProperties: { type: ['string', 'null'] } };

const OF_TABLE = {
  table: TEXT,
  id: described(TEXT, 'the column that names a row'),
  columns: described(
    COLUMNS,
    'for each column of the job: a column, an expression to read, or null if there is no such thing',
  ),
  where: described(CONDITIONS, 'which rows there are for the job'),
  insert: described(ASSIGNMENTS, 'what rows that the job inserts need besides'),
  set: described(ASSIGNMENTS, 'what else to set when the job changes a row'),
};

const USE = {
  type: 'object',
  required: ['uses'],
  additionalProperties: false,
  properties: {
    uses: described(TEXT, 'a built-in job, on tables of the application'),
    ...OF_TABLE,
    ...OF_JOB,
    tables: {
      type: 'object',
      additionalProperties: { type: 'object', additionalProperties: false, properties: OF_TABLE },
    },
  },
};

const JOB = { oneOf: [OWN, USE] };

export const SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Jobs of scheduler',
  type: 'object',
  required: ['jobs'],
  additionalProperties: false,
  properties: { jobs: { type: 'object', additionalProperties: JOB } },
};
