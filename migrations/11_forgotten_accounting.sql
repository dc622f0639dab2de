-- What is closed and counted is soon forgotten, and few rows are: found without going through all that are open.

create index accounted_closed on scheduler.accounted (id) where closed;
