import { inFile, type Mutant } from './mutant.ts';

export const OUTER: Mutant[] = [
  ...inFile('src/commands/pass.ts', 'engine/dry-run#--at is the run', [
    ['!options.dryRun && isFuture(at)', 'isFuture(at)'],
  ]),
  ...inFile('src/commands/failures.ts', 'store/failures#act on one row', [
    ["action !== 'list' && !job && !all", "action !== 'list' && !job && all"],
    ["rows.length === 1 ? '1 row'", "rows.length === 0 ? '1 row'"],
    ["ACTIONS.includes(args[0] ?? 'list') ? args", 'args ? args', 'store/failures#retry and drop'],
  ]),
  ...inFile('src/commands/status.ts', 'inspect/status#rows are in quarantine', [
    ['options.check ? screen.status.attention : []', 'screen.status.attention'],
    ['if (quarantined > 0) return', 'if (quarantined > 9) return', 'inspect/status#each job tells of its last run'],
  ]),
  ...inFile('src/commands/explain.ts', 'commands/explain#two lines', [
    ['verdict.sentence.includes(failure.error) ?', 'verdict.sentence.includes(failure.job) ?'],
    ['at(a) - at(b)', 'at(b) - at(a)'],
  ]),
  ...inFile('src/commands/events.ts', 'commands/screens#an event has a message', [
    ['value !== null && String(value) !== entityId', 'value === null'],
  ]),
  ...inFile('src/commands/listen.ts', 'commands/screens#an event has a message', [
    ['json || !isTerminal()', '!isTerminal()'],
  ]),
  ...inFile('src/base/table.ts', 'base/output#what matters least', [
    ['rankOf(column) > rank', 'rankOf(column) < rank'],
    ['const LEAST = 28;', 'const LEAST = 48;'],
    ['isLeftOut || isCut', 'isLeftOut && isCut'],
  ]),
  ...inFile('src/base/wrap.ts', 'base/output#East Asian', [
    ['TWO_COLUMNS.test(character) ? 2 : 1', 'TWO_COLUMNS.test(character) ? 1 : 1'],
    ['NO_COLUMN.test(character) ? 0', 'NO_COLUMN.test(character) ? 1'],
  ]),
  ...inFile('src/inspect/names.ts', 'commands/completion#only the database', [
    ["where name ~ '${HARMLESS}'", 'where true'],
    ["kind === 'ids' ? { job } : {}", '{ job: null }'],
  ]),
  ...inFile('src/monitor/metrics.ts', 'monitor/metrics#counters go on', [
    ['value + (samples.get(`${name}${written(labels)}`) ?? 0)', 'value'],
    [
      '(exitCode ?? passes.at(-1)?.exitCode) === EXIT.done && !locked',
      '(exitCode ?? passes.at(-1)?.exitCode) === EXIT.done',
      'monitor/metrics#the lock held says',
    ],
    ['fchmodSync(file, 0o644)', 'fchmodSync(file, 0o600)', 'monitor/metrics#readable for everybody'],
    ['backlog.seconds ?? 0, labels', 'backlog.rows, labels', 'monitor/metrics#the backlog'],
  ]),
  ...inFile('src/commands/progress.ts', 'commands/progress', [
    ['const WAIT_MS = 1000;', 'const WAIT_MS = 0;'],
    ['if (!isSomebodyWatching() || isQuietNow()) return undefined;', 'if (!isSomebodyWatching()) return undefined;'],
    ['sweep.due = done + (', 'sweep.due = 2 * done + ('],
    ['clearInterval(timer);\n      eraseLine();', 'clearInterval(timer);'],
  ]),
  ...inFile('src/context.ts', 'commands/global-options', [
    ['if (options.quiet) beQuiet();', ''],
    ["options.quiet && ['debug'", "!options.quiet && ['debug'"],
    ['options.logFormat ?? settings.logFormat', 'settings.logFormat ?? options.logFormat'],
  ]),
  ...inFile('src/monitor/ping.ts', 'monitor/ping#does not know the URL', [
    ['answer.status < 200 || answer.status > 299', 'answer.status < 200'],
  ]),
  ...inFile('src/setup/install/own-crontab.ts', 'setup/crontab', [
    ['lines.slice(last + 1)', 'lines.slice(last)'],
    ["text.endsWith('\\n') ? text : `${text}\\n`", 'true ? text : `${text}\\n`'],
  ]),
  ...inFile('src/setup/install/files.ts', 'commands/install#the units of', [
    ['if (user !== undefined) {', 'if (user === undefined) {'],
  ]),
  ...inFile('src/setup/install/plan.ts', 'commands/install#how it was asked', [
    ['/^[a-z_][a-z0-9_.-]*$/i', '/^[^]*$/i'],
  ]),
  ...inFile('src/embedded/folder.ts', 'embedded/folder', [
    ['!found.isDirectory() || found.uid !== ownUid()', 'found.uid !== ownUid()'],
  ]),
];
