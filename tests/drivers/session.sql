\set VERBOSITY verbose
\set ECHO queries
\pset pager off
\timing off
select 1 as one, 'two' as "Two", null as three, true as four, 1.50::numeric as five;
create table :t (id int primary key, name text not null default 'nobody', amount numeric(10,2) check (amount >= 0), at timestamptz default '2024-02-29 12:00:00+00');
\d :t
create index on :t (name);
\d+ :t
insert into :t (id, name, amount) select n, 'name ' || n, n * 1.5 from generate_series(1, 12) n;
select * from :t order by id;
\x on
select * from :t where id = 3;
\x off
select id, name from :t order by id limit 2 \gdesc
select 'select ' || n from generate_series(1, 3) n \gexec
update :t set amount = amount * 2 where id between 2 and 4 returning id, amount;
delete from :t where id = 12;
select 1/0;
\errverbose
selekt;
select * from no_such_table;
insert into :t (id) values (1);
insert into :t (id, amount) values (50, -1);
begin;
insert into :t (id) values (60);
savepoint s;
insert into :t (id) values (60);
rollback to s;
insert into :t (id) values (61);
commit;
begin;
select 1/0;
select 1;
commit;
select id from :t where id >= 60 order by id;
select 1 as a\; select 2 as b\; select 1/0\; select 3 as c;
do $$ begin raise notice 'a notice' using detail = 'a detail', hint = 'a hint'; raise warning 'a warning'; end $$;
copy :t (id, name) from stdin;
70	copied
71	also copied
\.
copy (select id, name from :t where id >= 70 order by id) to stdout with (format csv, header);
copy :t (id, name) from stdin;
notanumber	x
\.
prepare p (int) as select name from :t where id = $1;
execute p (3);
execute p ('x');
deallocate p;
execute p (3);
begin;
declare c cursor for select id from :t order by id;
fetch 3 from c;
move 2 in c;
fetch all in c;
close c;
commit;
set timezone to 'Asia/Tokyo';
select at from :t where id = 1;
show timezone;
reset timezone;
listen own_channel;
unlisten *;
explain (costs off) select * from :t where id = 1;
select current_user, session_user, current_database(), current_schema();
\encoding
\echo :SERVER_VERSION_NUM :ENCODING :SERVER_ENCODING
\dt :t
\df no_such_function
\dn
\du no_such_role
set application_name to 'renamed';
show application_name;
select repeat('long ', 5) as words, 'naïve ☃ 漢字' as unicode, E'tab\there' as tab;
\set FETCH_COUNT 2
select n from generate_series(1, 7) n;
\set FETCH_COUNT 0
drop table :t;
