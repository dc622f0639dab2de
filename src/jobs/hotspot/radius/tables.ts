import { instant, text } from '../../../job/columns.ts';
import type { Table } from '../../../job/define.ts';

/** FreeRADIUS's own tables: made where nobody has loaded its schema, and never given a column of ours. */

// The stock schema of FreeRADIUS 3.2, typing errors included. Its queries ask for all of these tables at every login.
const STOCK_SCHEMA = `
  create table radacct (
    radacctid bigserial primary key,
    acctsessionid text not null,
    acctuniqueid text not null unique,
    username text,
    realm text,
    nasipaddress inet not null,
    nasportid text,
    nasporttype text,
    acctstarttime timestamptz,
    acctupdatetime timestamptz,
    acctstoptime timestamptz,
    acctinterval bigint,
    acctsessiontime bigint,
    acctauthentic text,
    connectinfo_start text,
    connectinfo_stop text,
    acctinputoctets bigint,
    acctoutputoctets bigint,
    calledstationid text,
    callingstationid text,
    acctterminatecause text,
    servicetype text,
    framedprotocol text,
    framedipaddress inet,
    framedipv6address inet,
    framedipv6prefix inet,
    framedinterfaceid text,
    delegatedipv6prefix inet,
    class text
  );
  create index radacct_active_session_idx on radacct (acctuniqueid) where acctstoptime is null;
  create index radacct_bulk_close on radacct (nasipaddress, acctstarttime) where acctstoptime is null;
  create index radacct_start_user_idx on radacct (acctstarttime, username);
  create index radacct_calss_idx on radacct (class);

  create table radcheck (
    id serial primary key,
    username text not null default '',
    attribute text not null default '',
    op varchar(2) not null default '==',
    value text not null default ''
  );
  create index radcheck_username on radcheck (username, attribute);
  create table if not exists radreply (
    id serial primary key,
    username text not null default '',
    attribute text not null default '',
    op varchar(2) not null default '=',
    value text not null default ''
  );
  create index if not exists radreply_username on radreply (username, attribute);

  create table if not exists radgroupcheck (
    id serial primary key,
    groupname text not null default '',
    attribute text not null default '',
    op varchar(2) not null default '==',
    value text not null default ''
  );
  create index if not exists radgroupcheck_groupname on radgroupcheck (groupname, attribute);
  create table if not exists radgroupreply (
    id serial primary key,
    groupname text not null default '',
    attribute text not null default '',
    op varchar(2) not null default '=',
    value text not null default ''
  );
  create index if not exists radgroupreply_groupname on radgroupreply (groupname, attribute);
  create table if not exists radusergroup (
    id serial primary key,
    username text not null default '',
    groupname text not null default '',
    priority integer not null default 0
  );
  create index if not exists radusergroup_username on radusergroup (username);
  create table if not exists radpostauth (
    id bigserial primary key,
    username text not null,
    pass text,
    reply text,
    calledstationid text,
    callingstationid text,
    authdate timestamptz not null default now(),
    class text
  );
  create index if not exists radpostauth_username_idx on radpostauth (username);
  create index if not exists radpostauth_class_idx on radpostauth (class);

  create table if not exists nas (
    id serial primary key,
    nasname text not null,
    shortname text not null,
    type text not null default 'other',
    ports integer,
    secret text not null,
    server text,
    community text,
    description text
  );
  create index if not exists nas_nasname on nas (nasname);
  create table if not exists nasreload (
    nasipaddress inet primary key,
    reloadtime timestamptz not null
  )`;

// Only instants need to be told apart. The other types are FreeRADIUS's own.
const PLAIN = text({ newTableOnly: true });
const INSTANT = instant({ newTableOnly: true });
const STOCK = { make: STOCK_SCHEMA, unless: ['radacct', 'radcheck'] };

const attributes = (name: string): Table => ({
  ...STOCK,
  name,
  recognisedBy: ['username', 'attribute', 'op', 'value'],
  columns: { id: PLAIN, username: PLAIN, attribute: PLAIN, op: PLAIN, value: PLAIN },
  needs: ['id', 'username', 'attribute', 'op', 'value'],
});

/** What a user must meet to be let in. */
export const RADCHECK = attributes('radcheck');
/** What the router is told of a user who is let in. */
export const RADREPLY = attributes('radreply');

/** The routers. */
export const NAS: Table = {
  ...STOCK,
  name: 'nas',
  recognisedBy: ['nasname', 'secret'],
  columns: { id: PLAIN, nasname: PLAIN, secret: PLAIN },
  needs: ['id', 'nasname', 'secret'],
};

/** What routers report of each session: open until it has a stop time. */
export const RADACCT: Table = {
  ...STOCK,
  name: 'radacct',
  key: 'radacctid',
  recognisedBy: ['radacctid', 'username', 'acctstoptime', 'acctinputoctets', 'acctoutputoctets'],
  columns: {
    radacctid: PLAIN,
    acctsessionid: PLAIN,
    username: PLAIN,
    nasipaddress: PLAIN,
    framedipaddress: PLAIN,
    callingstationid: PLAIN,
    acctstarttime: INSTANT,
    acctupdatetime: INSTANT,
    acctstoptime: INSTANT,
    acctinterval: PLAIN,
    acctsessiontime: PLAIN,
    acctinputoctets: PLAIN,
    acctoutputoctets: PLAIN,
    acctterminatecause: PLAIN,
  },
  indexes: { open_of_user: '(username) where acctstoptime is null' },
};
