import { inFile, type Mutant } from './mutant.ts';

export const INSPECT: Mutant[] = [
  ...inFile('src/inspect/listener.ts', 'inspect/gaps', [
    ['const top = since ?? last;', 'const top = last;'],
    ['code === 0 ? undefined', 'code !== null ? undefined', 'inspect/listener#runs a command per event'],
    [
      'writers.length > 0 ? await recentGaps',
      'writers.length < 0 ? await recentGaps',
      'inspect/listener#already under way',
    ],
  ]),
  ...inFile('src/inspect/outlook.ts', 'inspect/next#begins with the soonest', [
    ["'moment', paced)}\n  group by date_trunc('minute'", "'moment', paced)}\n  group by date_trunc('hour'"],
    ['and ${mayAct} and', 'and', 'own/next#heeds how often'],
    [
      '[...conditionsAt(rule, turn), ...inTime, `${turn} <=',
      '[...conditionsAt(rule, turn), ...inTime, `${rule.at} <=',
      'own/next#heeds how often',
    ],
  ]),
  ...inFile('src/inspect/status.ts', 'inspect/status#due for more than ten minutes', [
    ['const LATE_SECONDS = 600;', 'const LATE_SECONDS = 6000;'],
    ['isOn(status) && (status', '!isOn(status) && (status'],
  ]),
  ...inFile('src/inspect/explain/seen.ts', 'inspect/secrets', [
    ['value.length > LONGEST', 'value.length > LONGEST * 1000'],
  ]),
  ...inFile('src/inspect/explain/transitions.ts', 'inspect/explain#neither true nor false', [
    ['met: value === true', 'met: value !== false'],
  ]),
  ...inFile('src/inspect/doctor/rights.ts', 'inspect/doctor#without any right', [
    ['lacking.length < 4', 'lacking.length < 400'],
  ]),
];
