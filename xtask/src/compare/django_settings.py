"""Settings for Django's test suite: PostgreSQL where libpq's variables say."""

import os


def _database(name):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["PGPASSWORD"],
    }


DATABASES = {"default": _database("django"), "other": _database("django_other")}
TEST_RUNNER = "django_outcomes.Runner"
SECRET_KEY = "no secret"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
