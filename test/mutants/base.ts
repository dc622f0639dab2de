import { harmless, inFile, type Mutant } from './mutant.ts';

export const BASE: Mutant[] = [
  ...inFile('src/base/calendar.ts', 'base/calendar', [
    [
      'shown - Math.max(...around), shown - Math.min(...around)',
      'shown - Math.min(...around), shown - Math.max(...around)',
    ],
    ['Date.parse(instant) > Date.now()', 'Date.parse(instant) < Date.now()', 'engine/dry-run#--at is the run'],
    ['words.slice(0, 2)', 'words.slice(0, 3)'],
    ['Math.abs(seconds) < 0.5', 'Math.abs(seconds) < 50'],
    ["instant === '-infinity' ? 'at once' : 'never'", "instant === '-infinity' ? 'never' : 'at once'"],
  ]),
  ...inFile('src/base/config.ts', 'base/settings', [
    ['/^(false|0|no|off)$/i', '/^(false|0|no)$/i'],
    ['/^\\d{1,12}(\\.\\d{1,6})?$/', '/^-?\\d{1,12}(\\.\\d{1,6})?$/'],
    ['value >= 1 && value <= most', 'value >= 0 && value <= most'],
    ['process.env[name] ??= value', 'process.env[name] = value', 'cli#adds to the environment'],
    ["name.startsWith('SCHEDULER_') && !known", '!known'],
  ]),
  ...inFile('src/base/connection.ts', 'base/connection', [
    ["fixed('PGTARGETSESSIONATTRS', /^(any)?$/", "fixed('PGTARGETSESSIONATTRS', /^/"],
    ["binding ? 'binding' :", "binding ? 'scram' :", 'strangers/server#proves itself'],
    ['const url = given ?? env.DATABASE_URL?.trim()', 'const url = env.DATABASE_URL?.trim() ?? given', 'base/settings'],
    ['prefer: [blind, false]', 'prefer: [blind]'],
    ['allow: [false, blind]', 'allow: [false]'],
  ]),
  ...inFile('src/base/mask.ts', 'jobs/hotspot/secrets', [
    ['digits.length >= 12', 'digits.length >= 11'],
    ['`****${digits.slice(-3)}`', '`****${digits.slice(-4)}`'],
    ['digits.length >= 6 ?', 'digits.length >= 3 ?'],
  ]),
  ...inFile('src/base/plain.ts', 'base/calendar', [
    ["character === '\\n' || character === '\\t'", "character !== '\\n'"],
  ]),
  ...inFile('src/db/bind.ts', 'db/bind', [
    ['(?<![:\\w]):', ':'],
    ['if (!(name in values)) throw', 'if (name in values && false) throw'],
  ]),
  ...inFile('src/db/bounds.ts', 'engine/runs#for longer than the run', [
    ['options.idleTimeout ?? IDLE_TIMEOUT', 'IDLE_TIMEOUT'],
  ]),
  ...inFile('src/db/client.ts', 'engine/stops#a connection lost', [
    ['options.attempts ?? 3', 'options.attempts ?? 1'],
    ['!(error instanceof ConnectionLost)) await', 'sqlState(error)) await', 'job/adopt#is one sentence with table'],
    ['isTransient(error) || (options.patient', '(options.patient'],
    ["state.startsWith('28') || state === '3D000'", "state.startsWith('28')", 'cli#refuses the role'],
    [
      'misconfigured ? EXIT.configuration : EXIT.unreachable',
      '!misconfigured ? EXIT.configuration : EXIT.unreachable',
      'cli#refuses the role',
    ],
    ["await tx.query('set constraints all immediate');", '', 'engine/bad-rows#a row refused by'],
  ]),
  ...inFile('src/db/demands.ts', 'strangers/server#is told nothing', [
    ["prependListener('authenticationMD5Password'", "prependListener('authenticationMD4Password'"],
    ["!mechanisms.includes('SCRAM-SHA-256-PLUS')", 'false', 'strangers/server#proves itself'],
    [
      'if (!isProven) refuse',
      'if (isProven) refuse',
      'strangers/server#is told nothing, strangers/server#proves itself',
    ],
  ]),
  ...inFile('src/db/search-path.ts', 'strangers/search-path#no command calls', [
    ["const OURS = 'pg_catalog, pg_temp';", "const OURS = 'pg_catalog, public';"],
    ['sql.includes(OPENED)', 'false'],
  ]),
  ...inFile('src/db/states.ts', 'engine/bad-rows#a row refused by', [
    ['!new RegExp(spares).test(code)', 'new RegExp(spares).test(code)'],
  ]),
  ...inFile('src/net/http.ts', 'jobs/hotspot/sms#deadline ends every wait', [
    ['if (signal.aborted) return stop();', ''],
  ]),
  ...inFile('src/net/in-flight.ts', 'net/in-flight', [
    ['underWay < most && !failure && !signal.aborted', 'underWay <= most && !failure && !signal.aborted'],
    ['&& !failure && !signal.aborted', '&& !signal.aborted'],
    ['if (underWay > 0) return;', ''],
  ]),
  ...harmless('src/base/config.ts', [
    ['if (!/^[A-Za-z]/.test(name)) return false;', '', 'Node 20 knows no such zone; later versions do'],
  ]),
];
