/** Texts of the manual page that belong to no command. The glossary in docs/architecture.md has the same words. */

export const CONCEPTS: Record<string, string> = {
  tick: 'One run of all jobs. Cron or a systemd timer starts one every minute. If two run at once, the second one ends.',
  job: 'One pass over one kind of row. Some jobs are built in. A jobs file describes your own.',
  rule:
    'A part of a job: a due time, a condition and a change. The change makes the rule no longer due, so nothing happens twice. ' +
    'One change of one row is called a transition.',
  'due time':
    'When a row should change. It is in the row itself, so a tick that comes late still finds it. ' +
    "The database's clock decides what is due.",
  lateness: 'How long after its due time a row was changed. Reports show the largest one of a run.',
  slot:
    'The minute that a tick stands for. A job that looks every 15 minutes runs once in a window of 15 slots. ' +
    'A second tick in that window leaves it out, unless somebody asks for the job by name.',
  backlog: 'Rows that are overdue, because ticks did not come or a rule is new. The next tick works it off in batches.',
  retry:
    'A row that cannot be changed is recorded with the reason. It is tried again after 5 minutes, and after 30 more.',
  quarantine:
    'A row that failed three times is left alone. A tick tries it again when somebody has changed a column that its rule reads. ' +
    'You can also release it with "scheduler failures retry".',
  event:
    'A record of a transition in the table scheduler.events. It is sent to its channels by NOTIFY, in the transaction of the change.',
  tenant:
    'The schema in which the tables of a job lie. Each tenant has its own runs, failures, pauses and lock. ' +
    'Most applications have one: public.',
};

export const SETTINGS: Record<string, string> = {
  SCHEDULER_TIMEZONE: 'The zone of schedules by wall clock, if the row names none',
  SCHEDULER_DB_TIMEZONE: 'The zone in which columns without a zone are read. Run "scheduler migrate" after a change',
  SCHEDULER_RETENTION: 'How long events and runs are kept',
  PGCONNECT_TIMEOUT: 'How long to wait for a connection',
  SCHEDULER_LOG_LEVEL: 'The least important messages that are logged',
  SCHEDULER_LOG_FORMAT: 'The form of the log, on standard error',
  SCHEDULER_TENANTS: 'The tenants of a tick and of "status", as --tenants names them',
  SCHEDULER_TENANT_OWNERS: 'Roles whose schemas count as tenants, besides the owner of the schema "scheduler"',
  SCHEDULER_METRICS_FILE: "A file of figures for Prometheus's node_exporter, written by each tick",
  SCHEDULER_PING_URL: 'A monitor that hears of the start of each tick and of its exit code',
  ENABLE_SUBSCRIPTION_SCHEDULER: 'Whether a tick does the job subscriptions',
  SCHEDULER_END_SUBSCRIPTIONS: 'Whether active subscriptions end at their end date',
  SCHEDULER_SESSION_RATE: 'The earnings of a doctor per block of ten minutes, if the wallet does not say',
  SCHEDULER_SMS: 'The gateway for SMS. With "log", none is sent',
  SCHEDULER_SMS_URL: 'The address of the webhook, or another base address of a gateway',
  SCHEDULER_SMS_USERNAME: 'The account at the gateway',
  SCHEDULER_SMS_SECRET: 'The key or token for the gateway',
  SCHEDULER_SMS_FROM: 'The sender of an SMS',
  SCHEDULER_RADIUS_PORT: 'The UDP port on which routers take Disconnect-Requests',
  SCHEDULER_RADIUS_INTERIM: 'How often a router reports the usage of a session, in seconds',
  SCHEDULER_RADIUS_IDLE: 'After how many seconds of silence a device is logged out; 0 means never',
};

export const FILES: Record<string, string> = {
  'scheduler.yaml': 'A jobs file of yours, under any name. "scheduler apply" reads it, and a tick does not need it.',
  '/etc/scheduler.env':
    'Settings, one NAME=value a line, for "scheduler install" and --env-file. Only the user who ticks may read it.',
  '/etc/cron.d/scheduler': 'The line for cron that "scheduler install --cron" writes as root.',
  '/etc/systemd/system/scheduler.service':
    'The service that "scheduler install --systemd" writes, beside scheduler.timer.',
  '~/.pgpass': 'Passwords, as for psql(1).',
};
