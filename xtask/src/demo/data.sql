-- A shop of 40,000 customers and 60,000 payments. Everything is made up; the card numbers only have a right check digit.
\set ON_ERROR_STOP on
BEGIN;

CREATE TABLE customers (
    id          integer PRIMARY KEY,
    name        text NOT NULL,
    email       text NOT NULL,
    phone       text NOT NULL,
    card_number text NOT NULL,
    address     text NOT NULL,
    created_at  timestamptz NOT NULL
);

CREATE TABLE payments (
    id          integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    amount      numeric(10, 2) NOT NULL,
    currency    text NOT NULL,
    status      text NOT NULL,
    paid_at     timestamptz NOT NULL
);

-- The digit that makes the sum of Luhn's algorithm (ISO/IEC 7812-1) a multiple of ten.
CREATE FUNCTION pg_temp.with_check_digit(digits text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT digits || (10 - sum(CASE WHEN place % 2 = 1 THEN digit * 2 - CASE WHEN digit > 4 THEN 9 ELSE 0 END ELSE digit END) % 10) % 10
    FROM (SELECT place, substr(reverse(digits), place, 1)::integer AS digit FROM generate_series(1, length(digits)) AS place) AS each
$$;

WITH words AS (
    SELECT
        '{Ada,Ben,Carmen,Dimitri,Elena,Farid,Grace,Hiro,Ines,Jonas,Keiko,Liam,Maria,Noor,Olu,Priya,Quentin,Rosa,Samir,Tove,Uma,Viktor,Wen,Ximena,Yara,Zane}'::text[] AS firsts,
        '{Abbott,Bianchi,Castillo,Dubois,Eriksen,Fischer,Garcia,Haddad,Ivanov,Jensen,Kowalski,Larsen,Moreau,Nakamura,Okafor,Petrov,Quinn,Rossi,Silva,Tanaka,Ueda,Vargas,Weber,Xu,Yilmaz,Zhang}'::text[] AS lasts,
        '{example.com,example.net,example.org,mail.example.com,post.example.org}'::text[] AS domains,
        '{Oak Street,Mill Lane,Station Road,Church Street,Park Avenue,High Street,Elm Grove,Harbour Way,Garden Terrace,Kings Road}'::text[] AS streets,
        '{Bergen,Porto,Leeds,Ghent,Malmo,Turin,Gdansk,Lyon,Bremen,Cork}'::text[] AS cities
), people AS (
    SELECT n, firsts[1 + n % 26] AS first, lasts[1 + (n / 26 + n * 7) % 26] AS last, domains, streets, cities,
        ('x' || substr(md5('shop' || n), 1, 12))::bit(48)::bigint AS seed
    FROM words, generate_series(1, 40000) AS n
)
INSERT INTO customers
SELECT n, first || ' ' || last, lower(first || '.' || last) || n || '@' || domains[1 + seed % 5],
    '+1 555 ' || lpad((seed % 1000)::text, 3, '0') || ' ' || lpad((seed / 1000 % 10000)::text, 4, '0'),
    pg_temp.with_check_digit('4' || lpad((seed % 100000000000000)::text, 14, '0')),
    (1 + seed % 240) || ' ' || streets[1 + seed / 7 % 10] || ', ' || cities[1 + seed / 70 % 10],
    timestamptz '2024-01-01 00:00:00+00' + seed % 62000000 * interval '1 second'
FROM people;

INSERT INTO payments
SELECT n, 1 + seed % 40000, (100 + seed % 50000) / 100.0, (ARRAY['EUR', 'GBP', 'NOK', 'USD'])[1 + seed % 4],
    (ARRAY['settled', 'settled', 'settled', 'refunded', 'pending'])[1 + seed % 5], timestamptz '2025-12-01 00:00:00+00' + seed % 28000000 * interval '1 second'
FROM (SELECT n, ('x' || substr(md5('payment' || n), 1, 12))::bit(48)::bigint AS seed FROM generate_series(1, 60000) AS n) AS made;

CREATE INDEX ON payments (customer_id);
ALTER TABLE customers OWNER TO shop_app;
ALTER TABLE payments OWNER TO shop_app;
COMMIT;
ANALYZE;
