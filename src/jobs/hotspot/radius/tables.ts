import { instant, text, whole } from '../../../job/columns.ts';
import type { Table } from '../../../job/define.ts';

/** FreeRADIUS's own tables: made where nobody has loaded its schema, and never given a column of ours. */

const attributesOf = (table: string, owner: string, op: string) => `
  create table if not exists ${table} (
    id serial primary key, ${owner} text not null default '', attribute text not null default '',
    op varchar(2) not null default '${op}', value text not null default ''
  );
  create index if not exists ${table}_${owner} on ${table} (${owner}, attribute);`;

// The stock schema of FreeRADIUS 3.2, typing errors included. Its queries ask for all of these tables at every login.
const STOCK_SCHEMA = `
  create table radacct (
    radacctid bigserial primary key, acctsessionid text not null, acctuniqueid text not null unique,
    username text, realm text, nasipaddress inet not null, nasportid text, nasporttype text,
    acctstarttime timestamptz, acctupdatetime timestamptz, acctstoptime timestamptz,
    acctinterval bigint, acctsessiontime bigint, acctauthentic text, connectinfo_start text, connectinfo_stop text,
    acctinputoctets bigint, acctoutputoctets bigint, calledstationid text, callingstationid text,
    acctterminatecause text, servicetype text, framedprotocol text, framedipaddress inet, framedipv6address inet,
    framedipv6prefix inet, framedinterfaceid text, delegatedipv6prefix inet, class text
  );
  create index radacct_active_session_idx on radacct (acctuniqueid) where acctstoptime is null;
  create index radacct_bulk_close on radacct (nasipaddress, acctstarttime) where acctstoptime is null;
  create index radacct_start_user_idx on radacct (acctstarttime, username);
  create index radacct_calss_idx on radacct (class);

  ${attributesOf('radcheck', 'username', '==')}
  ${attributesOf('radreply', 'username', '=')}
  ${attributesOf('radgroupcheck', 'groupname', '==')}
  ${attributesOf('radgroupreply', 'groupname', '=')}
  create table if not exists radusergroup (
    id serial primary key, username text not null default '', groupname text not null default '',
    priority integer not null default 0
  );
  create index if not exists radusergroup_username on radusergroup (username);
  create table if not exists radpostauth (
    id bigserial primary key, username text not null, pass text, reply text, calledstationid text, callingstationid text,
    authdate timestamptz not null default now(), class text
  );
  create index if not exists radpostauth_username_idx on radpostauth (username);
  create index if not exists radpostauth_class_idx on radpostauth (class);

  create table if not exists nas (
    id serial primary key, nasname text not null, shortname text not null, type text not null default 'other',
    ports integer, secret text not null, server text, community text, description text
  );
  create index if not exists nas_nasname on nas (nasname);
  create table if not exists nasreload (nasipaddress inet primary key, reloadtime timestamptz not null)`;

const INSTANTS = ['acctstarttime', 'acctupdatetime', 'acctstoptime'];

const NUMBERS = ['id', 'radacctid', 'acctinterval', 'acctsessiontime', 'acctinputoctets', 'acctoutputoctets'];
const make = (column: string) => (INSTANTS.includes(column) ? instant : NUMBERS.includes(column) ? whole : text);

/** The types are FreeRADIUS's own; these tell which columns fit. */
const stock = (name: string, columns: string[], more: Omit<Table, 'name' | 'columns'>): Table => ({
  name,
  columns: Object.fromEntries(columns.map((column) => [column, make(column)({ newTableOnly: true })])),
  needs: columns,
  make: STOCK_SCHEMA,
  unless: ['radacct', 'radcheck'],
  ...more,
});

const ATTRIBUTES = ['username', 'attribute', 'op', 'value'];

/** What a user must meet to be let in. */
export const RADCHECK = stock('radcheck', ['id', ...ATTRIBUTES], { recognisedBy: ATTRIBUTES });
/** What the router is told of a user who is let in. */
export const RADREPLY = stock('radreply', ['id', ...ATTRIBUTES], { recognisedBy: ATTRIBUTES });

/** The routers. */
export const NAS = stock('nas', ['id', 'nasname', 'secret'], { recognisedBy: ['nasname', 'secret'] });

/** What routers report of each session: open until it has a stop time. */
export const RADACCT = stock(
  'radacct',
  [
    ...[
      'radacctid',
      'acctsessionid',
      'username',
      'nasipaddress',
      'framedipaddress',
      'callingstationid',
      'acctstarttime',
    ],
    ...['acctupdatetime', 'acctstoptime', 'acctinterval', 'acctsessiontime', 'acctinputoctets', 'acctoutputoctets'],
    'acctterminatecause',
  ],
  {
    key: 'radacctid',
    recognisedBy: ['radacctid', 'username', 'acctstoptime', 'acctinputoctets', 'acctoutputoctets'],
    indexes: { open_of_user: '(username) where acctstoptime is null' },
  },
);
