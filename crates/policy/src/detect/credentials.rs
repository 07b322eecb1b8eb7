//! The credential formats that are looked for: one entry for each documented form of token, key or connection string.
//!
//! Each provider's entries stand under a `source:` line that says where the form is documented. "Observed" says that the provider documents no
//! form, and that prefix and length are those of the keys it hands out. Where the documentation gives a range or leaves the length open, the
//! entry is as wide as that; an entry wider than the documentation says "loosened" and why.
//!
//! A form that other things have too (32 hexadecimal digits, a UUID) is a credential only with its provider's name for it before it: `near`. A space
//! in such a name stands for any separator or none, so that `dd api key` is found in `DD_API_KEY=`, in `dd-api-key:` and in `"ddApiKey": "`.
//!
//! JSON web tokens and PEM private keys have detectors of their own and are not in this table.

use super::format::Alphabet::{
    Alnum, Assign, Base64, Base64Url, Bearer, Blank, Digit, Hex, HexLower, HexUpper, Lower, LowerDigit, Password, Printable, Token, UpperDigit,
    Userinfo, Word,
};
use super::format::Check::{self, Entropy, GithubCrc32, Marked, Mixed};
use super::format::Format;
use super::format::Piece::{self, Run, Secret, Text};

/// Every credential format, by kind of provider. A `static`, since entries are told apart by where they are; of two that fit the same token, the
/// first is told.
pub(crate) static FORMATS: &[Format] = &[
    // ---- Source code hosting ----
    // source: https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
    token("github-personal-access-token", "ghp_", ALNUM_36).check(GithubCrc32),
    token("github-oauth-token", "gho_", ALNUM_36).check(GithubCrc32),
    token("github-app-user-token", "ghu_", ALNUM_36).check(GithubCrc32),
    token("github-app-installation-token", "ghs_", ALNUM_36).check(GithubCrc32),
    // source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-an-installation-access-token-for-a-github-app
    token("github-app-stateless-token", "ghs_", &[Run(Alnum, 1, 32), Text("_eyJ"), Run(Token, 60, 2000)]),
    // source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens
    token("github-refresh-token", "ghr_", &[Run(Alnum, 36, 76)]).check(Mixed(12)),
    // source: https://github.blog/changelog/2022-10-18-introducing-fine-grained-personal-access-tokens/ (parts observed)
    token("github-fine-grained-token", "github_pat_", &[Run(Alnum, 22, 22), Text("_"), Run(Alnum, 59, 59)]),
    // source: https://docs.gitlab.com/security/tokens/#token-prefixes
    // Loosened: a routable token adds a payload and dot-separated version, length and checksum to the twenty characters of the classic one.
    token("gitlab-personal-access-token", "glpat-", &[Run(Base64Url, 20, 20)]),
    token("gitlab-personal-access-token-routable", "glpat-", &[Run(Base64Url, 27, 300), Text("."), Run(LowerDigit, 9, 9)]),
    token(
        "gitlab-personal-access-token-versioned",
        "glpat-",
        &[Run(Base64Url, 27, 300), Text("."), Run(LowerDigit, 2, 2), Text("."), Run(LowerDigit, 9, 9)],
    ),
    token("gitlab-oauth-application-secret", "gloas-", &[Run(Base64Url, 64, 64)]).check(Entropy(10)),
    token("gitlab-deploy-token", "gldt-", TOKEN_20).check(Mixed(10)),
    token("gitlab-runner-token", "glrt-", TOKEN_20).check(Mixed(10)),
    token("gitlab-runner-registered-token", "glrtr-", TOKEN_20).check(Mixed(10)),
    token("gitlab-job-token", "glcbt-", &[Run(Token, 20, 2000)]).check(Mixed(10)),
    token("gitlab-trigger-token", "glptt-", TOKEN_20).check(Mixed(10)),
    token("gitlab-feed-token", "glft-", TOKEN_20).check(Mixed(10)),
    token("gitlab-incoming-mail-token", "glimt-", TOKEN_20).check(Mixed(10)),
    token("gitlab-agent-token", "glagent-", &[Run(Token, 50, 320)]).check(Mixed(14)),
    token("gitlab-scim-token", "glsoat-", TOKEN_20).check(Mixed(10)),
    token("gitlab-feature-flag-token", "glffct-", TOKEN_20).check(Mixed(10)),
    token("gitlab-workspace-token", "glwt-", TOKEN_20).check(Mixed(10)),
    token("gitlab-runner-registration-token", "GR1348941", &[Run(Base64Url, 20, 20)]),
    token("gitlab-session-cookie", "_gitlab_session=", HEX_LOWER_32).check(Entropy(7)),
    // source: https://support.atlassian.com/bitbucket-cloud/docs/using-app-passwords/ (prefix observed)
    token("bitbucket-app-password", "ATBB", &[Run(Alnum, 32, 32)]).check(Mixed(14)),
    named("bitbucket-oauth-secret", &["bitbucket client secret", "bitbucket secret", "bitbucket oauth secret"], &[Run(Alnum, 32, 32)])
        .check(Mixed(14)),
    // source: https://confluence.atlassian.com/bitbucketserver/http-access-tokens-939515499.html
    token("bitbucket-data-center-token", "BBDC-", &[Run(Base64, 40, 50)]).check(Mixed(14)),
    // source: https://support.atlassian.com/atlassian-account/docs/manage-api-tokens-for-your-atlassian-account/ (form observed)
    token("atlassian-api-token", "ATATT3xFfGF0", ATLASSIAN_TAIL),
    token("atlassian-organization-key", "ATCTT3xFfG", ATLASSIAN_TAIL),
    named(
        "atlassian-legacy-api-token",
        &["jira api token", "jira token", "atlassian token", "atlassian api token", "confluence token"],
        &[Run(Alnum, 24, 24)],
    )
    .check(Mixed(12)),
    // source: https://developer.atlassian.com/cloud/trello/guides/rest-api/authorization/ (prefix observed)
    token("trello-token", "ATTA", &[Run(Hex, 72, 72)]),
    named("trello-api-key", &["trello api key", "trello key"], HEX_LOWER_32).check(Mixed(9)),
    // source: https://docs.gitea.com/development/api-usage
    named("gitea-token", &["gitea token", "gitea access token", "gitea api token"], HEX_LOWER_40).check(Mixed(9)),
    // source: https://sourcegraph.com/docs/cli/how-tos/creating_an_access_token
    token("sourcegraph-access-token", "sgp_", HEX_LOWER_40).check(Mixed(9)),
    token("sourcegraph-instance-token", "sgp_", &[Run(Hex, 16, 16), Text("_"), Run(Hex, 40, 40)]),
    token("sourcegraph-local-token", "sgp_local_", &[Run(Hex, 40, 40)]),
    token("sourcegraph-license-token", "slk_", HEX_LOWER_64),
    // source: https://www.jetbrains.com/help/hub/Manage-Permanent-Tokens.html
    token("jetbrains-permanent-token", "perm:", JETBRAINS_TAIL).check(Mixed(16)),
    token("jetbrains-permanent-token-dash", "perm-", JETBRAINS_TAIL).check(Mixed(16)),
    // ---- Amazon ----
    // source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
    token("aws-access-key-id", "AKIA", AWS_ID).check(Entropy(6)),
    token("aws-temporary-access-key-id", "ASIA", AWS_ID).check(Entropy(6)),
    token("aws-bearer-token-id", "ABIA", AWS_ID).check(Entropy(6)),
    token("aws-context-credential-id", "ACCA", AWS_ID).check(Entropy(6)),
    named("aws-secret-access-key", &["secret access key", "aws secret key", "aws secret", "secret key id", "s3 secret key"], &[Run(Base64, 40, 40)])
        .check(Mixed(16)),
    // source: https://docs.aws.amazon.com/STS/latest/APIReference/API_Credentials.html (beginnings observed)
    token("aws-session-token", "IQoJb3JpZ2luX2Vj", &[Run(Base64, 100, 3000)]),
    token("aws-session-token-2017", "FQoDYXdzE", &[Run(Base64, 100, 3000)]),
    token("aws-session-token-2018", "FwoGZXIvYXdzE", &[Run(Base64, 100, 3000)]),
    named("aws-session-token-named", &["aws session token", "aws security token", "amz security token"], &[Run(Base64, 100, 3000)]).check(Mixed(20)),
    // source: https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html
    token("aws-bedrock-key", "ABSKQmVkcm9ja0FQSUtleS", &[Run(Base64, 90, 300)]),
    token("aws-bedrock-session-key", "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t", &[Run(Base64, 20, 3000)]),
    // source: https://docs.aws.amazon.com/appsync/latest/devguide/security-authz.html
    token("aws-appsync-key", "da2-", &[Run(LowerDigit, 26, 26)]).check(Mixed(10)),
    // source: https://developer-docs.amazon.com/sp-api/docs/connecting-to-the-selling-partner-api
    token("amazon-mws-auth-token", "amzn.mws.", UUID),
    token("amazon-login-client-secret", "amzn1.oa2-cs.v1.", HEX_LOWER_64),
    token("amazon-login-access-token", "Atza|", &[Run(Base64Url, 100, 2000)]),
    token("amazon-login-refresh-token", "Atzr|", &[Run(Base64Url, 100, 2000)]),
    // ---- Google ----
    // source: https://cloud.google.com/docs/authentication/api-keys (form observed)
    token("google-api-key", "AIza", &[Run(Base64Url, 35, 35)]).check(Mixed(14)),
    token("google-bound-api-key", "AQ.Ab8", &[Run(Base64Url, 40, 64)]).check(Mixed(16)),
    // source: https://developers.google.com/identity/protocols/oauth2 (forms observed)
    token("google-oauth-client-secret", "GOCSPX-", &[Run(Base64Url, 28, 28)]),
    token("google-oauth-access-token", "ya29.", &[Run(Token, 30, 2000)]).check(Mixed(16)),
    token("google-oauth-refresh-token", "1//0", &[Run(Base64Url, 60, 250)]).check(Mixed(16)),
    // source: https://cloud.google.com/iam/docs/keys-create-delete
    named("google-service-account-key-id", &["private key id"], HEX_LOWER_40).check(Mixed(9)),
    // source: https://cloud.google.com/storage/docs/authentication/hmackeys
    token("google-storage-hmac-key-id", "GOOG1E", &[Run(UpperDigit, 55, 55)]).check(Mixed(16)),
    named("google-storage-hmac-secret", &["hmac secret", "gcs secret", "gs secret access key"], &[Run(Base64, 40, 40)]).check(Mixed(16)),
    // source: https://firebase.google.com/docs/cloud-messaging/auth-server (legacy server key, form observed)
    token("google-fcm-server-key", "AAAA", &[Run(Base64Url, 7, 7), Text(":APA91b"), Run(Base64Url, 134, 134)]),
    // source: https://developers.google.com/recaptcha/docs/verify (form observed)
    token("google-recaptcha-secret", "6L", &[Run(Base64Url, 38, 38)]).near(&["recaptcha secret", "recaptcha private key"]),
    // ---- Microsoft ----
    // source: https://learn.microsoft.com/en-us/azure/storage/common/storage-configure-connection-string
    token("azure-storage-account-key", "AccountKey=", &[Run(Base64, 86, 88)]).check(Mixed(20)),
    // source: https://learn.microsoft.com/en-us/azure/storage/common/storage-account-keys-manage (the marker `+ASt` observed)
    named("azure-storage-marked-key", &["storage", "account", "azure", "key"], &[Run(Base64, 76, 76), Text("+ASt"), Run(Base64, 8, 8)]),
    named("azure-batch-key", &["batch key", "batch account key", "batch access key"], &[Run(Base64, 88, 88)]).check(Mixed(20)),
    // source: https://learn.microsoft.com/en-us/azure/cosmos-db/secure-access-to-data (the marker `ACDb` observed)
    named("azure-cosmos-key", &["cosmos", "account", "documentdb", "azure"], &[Run(Base64, 76, 76), Text("ACDb"), Run(Base64, 8, 8)]),
    // source: https://learn.microsoft.com/en-us/azure/service-bus-messaging/service-bus-sas
    token("azure-shared-access-key", "SharedAccessKey=", &[Run(Base64, 43, 88)]).check(Mixed(16)),
    token("azure-access-key", "AccessKey=", &[Run(Base64, 43, 88)]).check(Mixed(16)),
    // source: https://learn.microsoft.com/en-us/rest/api/storageservices/create-service-sas
    // Loosened: the parameters that follow the signature belong to the match, since a SAS has them in any order.
    token("azure-sas-signature", "&sig=", &[Run(Userinfo, 43, 400)]).check(Mixed(16)),
    token("azure-sas-signature-first", "?sig=", &[Run(Userinfo, 43, 400)]).check(Mixed(16)),
    // source: https://learn.microsoft.com/en-us/azure/azure-app-configuration/howto-integrate-azure-managed-service-identity
    token("azure-app-configuration-secret", ";Secret=", &[Run(Base64, 43, 120)]).near(&["azconfig io"]).check(Mixed(16)),
    // source: https://learn.microsoft.com/en-us/entra/identity-platform/how-to-add-credentials (the marker `Q~` observed)
    named("azure-ad-client-secret", &["secret", "password", "azure", "entra", "arm", "client"], ENTRA_SECRET).check(Marked(4, "Q~")),
    // source: https://learn.microsoft.com/en-us/azure/devops/organizations/accounts/use-personal-access-tokens-to-authenticate
    named("azure-devops-token", &["azdo", "devops", "azure", "vsts", "pat", "token"], &[Run(Alnum, 76, 76), Text("AZDO"), Run(Alnum, 4, 4)]),
    named(
        "azure-devops-legacy-token",
        &["azure devops pat", "azure devops ext pat", "vsts token", "vsts pat", "azdo pat", "azdo personal access token"],
        &[Run(LowerDigit, 52, 52)],
    )
    .check(Mixed(16)),
    // source: https://learn.microsoft.com/en-us/azure/azure-functions/function-keys-how-to (the marker `AzFu` observed)
    named("azure-function-key", &["function", "code", "azure", "key"], &[Run(Base64Url, 44, 44), Text("AzFu"), Run(Base64Url, 6, 6), Text("==")]),
    // source: https://learn.microsoft.com/en-us/azure/search/search-security-api-keys (the marker `AzSe` observed)
    named("azure-search-key", &["search", "azure", "api key"], &[Run(Alnum, 42, 42), Text("AzSe"), Run(Alnum, 6, 6)]),
    // source: https://learn.microsoft.com/en-us/azure/container-registry/container-registry-authentication (the marker `+ACR` observed)
    named(
        "azure-container-registry-password",
        &["registry", "acr", "docker", "azure", "password"],
        &[Run(Base64, 42, 42), Text("+ACR"), Run(Alnum, 6, 6)],
    ),
    // source: https://learn.microsoft.com/en-us/azure/ai-services/authentication (the marker `JQQJ99` observed)
    named("azure-annotated-key", &["azure", "openai", "key", "token", "subscription"], &[Run(Alnum, 52, 52), Text("JQQJ99"), Run(Alnum, 26, 26)]),
    named(
        "azure-cognitive-services-key",
        &["ocp apim subscription key", "azure openai api key", "azure openai key", "cognitive services key", "speech key"],
        HEX_LOWER_32,
    )
    .check(Mixed(9)),
    // source: https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook
    token("microsoft-teams-webhook", ".webhook.office.com/webhookb2/", TEAMS_PATH),
    // ---- Clouds and hosting ----
    // source: https://docs.digitalocean.com/reference/api/create-personal-access-token/
    token("digitalocean-personal-access-token", "dop_v1_", HEX_LOWER_64),
    token("digitalocean-oauth-token", "doo_v1_", HEX_LOWER_64),
    token("digitalocean-refresh-token", "dor_v1_", HEX_LOWER_64),
    // source: https://devcenter.heroku.com/changelog-items/3175
    token("heroku-api-key", "HRKU-AA", &[Run(Base64Url, 58, 58)]),
    token("heroku-prefixed-api-key", "HRKU-", UUID),
    // source: https://devcenter.heroku.com/articles/platform-api-quickstart
    token("heroku-legacy-api-key", "", UUID).near(&["heroku api key", "heroku token", "heroku auth token"]),
    // source: https://fly.io/docs/security/tokens/
    token("fly-access-token", "fo1_", &[Run(Base64Url, 43, 43)]),
    token("fly-macaroon", "fm2_", &[Run(Base64, 100, 3000)]),
    token("fly-macaroon-1r", "fm1r_", &[Run(Base64, 100, 3000)]),
    token("fly-macaroon-1a", "fm1a_", &[Run(Base64, 100, 3000)]),
    // source: https://render.com/docs/api (prefix observed)
    token("render-api-key", "rnd_", &[Run(Alnum, 28, 40)]).check(Mixed(14)),
    // source: https://vercel.com/changelog/new-token-formats-and-secret-scanning (the prefixes; no length is documented)
    token("vercel-personal-access-token", "vcp_", VERCEL_TAIL).check(Mixed(14)),
    token("vercel-integration-token", "vci_", VERCEL_TAIL).check(Mixed(14)),
    token("vercel-app-access-token", "vca_", VERCEL_TAIL).check(Mixed(14)),
    token("vercel-app-refresh-token", "vcr_", VERCEL_TAIL).check(Mixed(14)),
    token("vercel-api-key", "vck_", VERCEL_TAIL).check(Mixed(14)),
    named("vercel-legacy-token", &["vercel token", "vercel api token", "vercel access token"], &[Run(Alnum, 24, 24)]).check(Mixed(12)),
    // source: https://vercel.com/docs/vercel-blob/using-blob-sdk
    token("vercel-blob-token", "vercel_blob_rw_", &[Run(Alnum, 16, 16), Text("_"), Run(Alnum, 28, 40)]),
    // source: https://docs.netlify.com/api-and-cli-guides/api-guides/get-started-with-api/ (prefixes observed)
    token("netlify-personal-access-token", "nfp_", ALNUM_36),
    token("netlify-cli-token", "nfc_", ALNUM_36),
    token("netlify-oauth-token", "nfo_", ALNUM_36),
    token("netlify-user-token", "nfu_", ALNUM_36),
    // source: https://techdocs.akamai.com/linode-api/reference/get-started
    named("linode-token", &["linode token", "linode cli token", "linode api key", "linode api token"], HEX_LOWER_64).check(Mixed(9)),
    // source: https://docs.hetzner.cloud/reference/cloud#authentication (length observed)
    named("hetzner-token", &["hcloud token", "hetzner token", "hetzner cloud token", "hetzner api token"], &[Run(Alnum, 64, 64)]).check(Mixed(20)),
    // source: https://www.scaleway.com/en/docs/iam/how-to/create-api-keys/
    token("scaleway-access-key", "SCW", &[Run(UpperDigit, 17, 17)]).check(Mixed(8)),
    token("scaleway-secret-key", "", UUID).near(&["scw secret key", "scaleway secret key", "scaleway secret", "scw token"]),
    // source: https://help.ovhcloud.com/csm/en-api-getting-started-ovhcloud-api
    named("ovh-application-secret", &["ovh application secret", "ovh consumer key", "ovh secret"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://www.vultr.com/api/#section/Authentication (length observed)
    named("vultr-api-key", &["vultr api key", "vultr key", "vultr token"], &[Run(UpperDigit, 36, 36)]).check(Mixed(12)),
    // source: https://developers.upcloud.com/1.3/ (prefix observed)
    token("upcloud-token", "ucat_", &[Run(UpperDigit, 26, 26)]).check(Mixed(10)),
    // source: https://community.exoscale.com/documentation/iam/quick-start/
    token("exoscale-api-key", "EXO", &[Run(HexLower, 24, 26)]).check(Mixed(8)),
    named("exoscale-api-secret", &["exoscale api secret", "exoscale secret"], &[Run(Base64Url, 43, 43)]).check(Mixed(16)),
    // source: https://developers.scalingo.com/tokens (prefix observed)
    token("scalingo-token", "tk-us-", &[Run(Base64Url, 48, 48)]).check(Mixed(16)),
    // source: https://docs.railway.com/guides/public-api
    token("railway-token", "", UUID).near(&["railway token", "railway api token"]),
    // source: https://www.alibabacloud.com/help/en/ram/user-guide/create-an-accesskey-pair (prefix and lengths observed)
    token("alibaba-access-key-id", "LTAI", &[Run(Alnum, 12, 24)]).check(Mixed(9)),
    named("alibaba-access-key-secret", &["access key secret", "aliyun secret", "alibaba secret"], &[Run(Alnum, 30, 30)]).check(Mixed(14)),
    // source: https://www.tencentcloud.com/document/product/598/32675 (prefix and lengths observed)
    token("tencent-secret-id", "AKID", &[Run(Alnum, 32, 32)]).check(Mixed(14)),
    named("tencent-secret-key", &["tencent cloud secret key", "tencent secret key", "qcloud secret key", "cos secret key"], &[Run(Alnum, 32, 32)])
        .check(Mixed(14)),
    // source: https://yandex.cloud/en/docs/iam/concepts/authorization/api-key (prefixes observed)
    token("yandex-api-key", "AQVN", &[Run(Base64Url, 35, 38)]).check(Mixed(14)),
    token("yandex-iam-token", "t1.", &[Run(Base64Url, 50, 400), Text("."), Run(Base64Url, 86, 86)]),
    token("yandex-oauth-token", "y0_", &[Run(Base64Url, 50, 64)]).check(Mixed(16)),
    // source: https://cloud.ibm.com/docs/account?topic=account-userapikey (length observed)
    named("ibm-cloud-api-key", &["ibm cloud api key", "ibm cloud key", "bluemix api key", "ibm api key"], &[Run(Base64Url, 44, 44)]).check(Mixed(16)),
    // source: https://www.backblaze.com/docs/cloud-storage-application-keys (form observed)
    token("backblaze-application-key", "K00", &[Run(Base64, 28, 28)]).near(&["b2", "backblaze", "application key"]).check(Mixed(14)),
    // source: https://developers.cloudflare.com/fundamentals/api/get-started/token-formats/
    token("cloudflare-global-api-key", "cfk_", CLOUDFLARE_TAIL),
    token("cloudflare-user-token", "cfut_", CLOUDFLARE_TAIL),
    token("cloudflare-account-token", "cfat_", CLOUDFLARE_TAIL),
    token("cloudflare-origin-ca-key", "v1.0-", &[Run(HexLower, 24, 24), Text("-"), Run(HexLower, 146, 146)]),
    named("cloudflare-legacy-token", &["cloudflare api token", "cloudflare token", "cf api token"], &[Run(Base64Url, 40, 40)]).check(Mixed(16)),
    named("cloudflare-legacy-global-key", &["cloudflare api key", "cf api key", "auth key"], &[Run(HexLower, 37, 37)]).check(Mixed(9)),
    // source: https://www.fastly.com/documentation/guides/account-info/account-management/using-api-tokens/ (length observed)
    named("fastly-token", &["fastly api token", "fastly api key", "fastly key", "fastly token"], &[Run(Base64Url, 32, 32)]).check(Mixed(14)),
    // source: https://techdocs.akamai.com/developer/docs/edgegrid
    token("akamai-client-token", "akab-", &[Run(LowerDigit, 16, 16), Text("-"), Run(LowerDigit, 16, 16)]),
    named("akamai-client-secret", &["akamai client secret", "edgegrid secret", "edge client secret", "akamai secret"], &[Run(Base64, 44, 44)])
        .check(Mixed(16)),
    // source: https://cloudinary.com/documentation/cloudinary_credentials_tutorial
    token("cloudinary-url", "cloudinary://", &[Run(Digit, 12, 18), Text(":"), Run(Base64Url, 20, 40), Text("@")]),
    // source: https://imagekit.io/docs/api-overview
    token("imagekit-private-key", "private_", &[Run(Base64, 28, 28)]).near(&["imagekit"]).check(Mixed(14)),
    // source: https://docs.deno.com/deploy/ (prefixes observed)
    token("deno-deploy-token", "ddp_", ALNUM_36),
    token("deno-deploy-organization-token", "ddo_", ALNUM_36),
    // ---- Secret stores and infrastructure ----
    // source: https://developer.hashicorp.com/vault/docs/concepts/tokens
    token("vault-service-token", "hvs.", &[Run(Base64Url, 24, 300)]).check(Mixed(14)),
    token("vault-batch-token", "hvb.", &[Run(Base64Url, 90, 400)]).check(Mixed(14)),
    token("vault-recovery-token", "hvr.", &[Run(Base64Url, 24, 300)]).check(Mixed(14)),
    token("vault-legacy-token", "s.", &[Run(Alnum, 24, 24)]).near(&["vault token", "client token"]).check(Mixed(12)),
    // source: https://developer.hashicorp.com/terraform/cloud-docs/users-teams-organizations/api-tokens
    // The fourteen characters before the marker are the token's public name.
    token("terraform-cloud-token", ".atlasv1.", &[Run(Base64Url, 60, 70)]),
    // source: https://developer.hashicorp.com/boundary/docs/concepts/security/token-security (form observed)
    token("boundary-auth-token", "at_", &[Run(Alnum, 10, 10), Text("_"), Run(Alnum, 50, 500)]).check(Mixed(20)),
    // source: https://developer.hashicorp.com/consul/docs/security/acl/tokens
    token("consul-token", "", UUID).near(&["consul http token", "consul token"]),
    token("nomad-token", "", UUID).near(&["nomad token"]),
    // source: https://docs.doppler.com/reference/auth-token-formats
    token("doppler-personal-token", "dp.pt.", ALNUM_40_44),
    token("doppler-cli-token", "dp.ct.", ALNUM_40_44),
    token("doppler-service-account-token", "dp.sa.", ALNUM_40_44),
    token("doppler-scim-token", "dp.scim.", ALNUM_40_44),
    token("doppler-audit-token", "dp.audit.", ALNUM_40_44),
    token("doppler-service-token", "dp.st.", &[Run(Token, 40, 90)]).check(Mixed(14)),
    // source: https://developer.1password.com/docs/service-accounts/
    token("1password-service-account-token", "ops_eyJ", &[Run(Base64Url, 200, 2000)]),
    // source: https://support.1password.com/secret-key/
    token("1password-secret-key", "A3-", ONE_PASSWORD_KEY),
    // source: https://infisical.com/docs/documentation/platform/token (form observed)
    token("infisical-service-token", "st.", &[Run(HexLower, 24, 24), Text("."), Run(HexLower, 32, 32), Text("."), Run(HexLower, 32, 32)]),
    // source: https://bitwarden.com/help/access-tokens/
    token("bitwarden-access-token", "0.", BITWARDEN_TAIL),
    // source: https://www.pulumi.com/docs/pulumi-cloud/access-management/access-tokens/
    token("pulumi-access-token", "pul-", HEX_LOWER_40),
    // source: https://tailscale.com/docs/reference/key-prefixes
    token("tailscale-key", "tskey-", &[Run(Lower, 3, 10), Text("-"), Run(Alnum, 8, 24), Text("-"), Run(Alnum, 16, 40)]),
    // source: https://docs.netbird.io/how-to/access-netbird-public-api (prefix observed)
    token("netbird-token", "nbp_", ALNUM_36),
    // source: https://docs.defined.net/guides/automating-host-creation/
    token("defined-networking-token", "dnkey-", &[Run(UpperDigit, 26, 26), Text("-"), Run(UpperDigit, 52, 52)]),
    // source: https://ngrok.com/docs/agent/#authtokens (form observed)
    named("ngrok-token", &["ngrok", "auth token"], &[Run(Alnum, 27, 27), Text("_"), Run(Alnum, 20, 22)]).check(Mixed(16)),
    // source: https://docs.zerotier.com/api/central/
    named("zerotier-token", &["zerotier token", "zerotier api token", "zerotier central token"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://www.wireguard.com/quickstart/ (a Curve25519 key in base 64; names from wg(8))
    token("wireguard-private-key", "PrivateKey = ", WIREGUARD_KEY).check(Mixed(16)),
    token("wireguard-private-key-tight", "PrivateKey=", WIREGUARD_KEY).check(Mixed(16)),
    token("wireguard-preshared-key", "PresharedKey = ", WIREGUARD_KEY).check(Mixed(16)),
    token("wireguard-preshared-key-tight", "PresharedKey=", WIREGUARD_KEY).check(Mixed(16)),
    // source: https://github.com/C2SP/C2SP/blob/main/age.md
    token("age-secret-key", "AGE-SECRET-KEY-1", &[Run(UpperDigit, 58, 58)]),
    token("age-hybrid-secret-key", "AGE-SECRET-KEY-PQ-1", &[Run(UpperDigit, 58, 64)]),
    // source: https://docs.openshift.com/container-platform/latest/authentication/managing-oauth-access-tokens.html
    token("openshift-token", "sha256~", &[Run(Base64Url, 43, 43)]),
    // source: https://ranchermanager.docs.rancher.com/reference-guides/user-settings/api-keys
    token("rancher-token", "token-", &[Run(LowerDigit, 5, 5), Text(":"), Run(LowerDigit, 54, 54)]),
    token("rancher-kubeconfig-token", "kubeconfig-", &[Run(Token, 5, 60), Text(":"), Run(LowerDigit, 54, 54)]),
    // source: https://docs.portainer.io/api/access (prefix observed)
    token("portainer-token", "ptr_", &[Run(Base64, 43, 44)]).check(Mixed(16)),
    // source: https://docs.docker.com/reference/cli/docker/login/ (the `auths` of config.json)
    token("docker-config-auth", "\"auth\": \"", &[Run(Base64, 16, 1000)]).near(DOCKER_WORDS).check(Entropy(8)),
    token("docker-config-auth-compact", "\"auth\":\"", &[Run(Base64, 16, 1000)]).near(DOCKER_WORDS).check(Entropy(8)),
    // ---- Continuous integration and code quality ----
    // source: https://circleci.com/changelog/new-format-for-api-access-tokens/
    token("circleci-personal-token", "CCIPAT_", CIRCLE_TAIL),
    token("circleci-project-token", "CCIPRJ_", CIRCLE_TAIL),
    // source: https://buildkite.com/docs/apis/managing-api-tokens (prefixes observed)
    token("buildkite-user-token", "bkua_", HEX_LOWER_40),
    token("buildkite-cluster-token", "bkct_", &[Run(Base64Url, 40, 120)]).check(Mixed(14)),
    // source: https://docs.travis-ci.com/user/triggering-builds/
    named("travis-token", &["travis token", "travis api token", "travis access token", "travis ci api token"], &[Run(Base64Url, 22, 22)])
        .check(Mixed(12)),
    // source: https://docs.drone.io/api/overview/
    named("drone-token", &["drone token", "drone api token", "drone ci access token", "drone access token"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://www.jetbrains.com/help/teamcity/configuring-your-user-profile.html#Managing+Access+Tokens (beginning observed)
    token("teamcity-token", "eyJ0eXAiOiAiVENWMiJ9.", &[Run(Base64Url, 20, 100), Text("."), Run(Base64Url, 40, 100)]),
    // source: https://www.jenkins.io/doc/book/system-administration/authenticating-scripted-clients/ (form observed)
    token("jenkins-api-token", "11", HEX_LOWER_32).near(&["jenkins"]).check(Mixed(9)),
    // source: https://octopus.com/docs/octopus-rest-api/how-to-create-an-api-key
    token("octopus-deploy-api-key", "API-", &[Run(UpperDigit, 25, 26)]).check(Mixed(10)),
    // source: https://developer.harness.io/docs/platform/automation/api/add-and-manage-api-keys/
    token("harness-personal-token", "pat.", HARNESS_TAIL),
    token("harness-service-account-token", "sat.", HARNESS_TAIL),
    // source: https://docs.codecov.com/docs/codecov-tokens
    token("codecov-token", "", UUID).near(&["codecov token", "codecov upload token", "codecov api token"]),
    // source: https://docs.coveralls.io/
    named("coveralls-token", &["coveralls repo token", "coveralls token"], &[Run(Alnum, 32, 34)]).check(Mixed(12)),
    // source: https://docs.codeclimate.com/docs/finding-your-test-coverage-token
    named("codeclimate-reporter-id", &["cc test reporter id"], HEX_LOWER_64).check(Mixed(9)),
    // source: https://docs.snyk.io/developer-tools/snyk-api/authentication-for-api (prefixes observed)
    token("snyk-token", "", UUID).near(&["snyk token", "snyk api token", "snyk api key", "snyk key"]),
    token("snyk-user-access-token", "snyk_uat.", &[Run(Token, 40, 1000)]),
    token("snyk-service-account-token", "snyk_sat.", &[Run(Token, 40, 1000)]),
    // source: https://docs.sonarsource.com/sonarqube-server/latest/user-guide/managing-tokens/
    token("sonarqube-project-token", "sqp_", HEX_LOWER_40),
    token("sonarqube-user-token", "squ_", HEX_LOWER_40),
    token("sonarqube-global-token", "sqa_", HEX_LOWER_40),
    token("sonarcloud-token", "sqco_", &[Run(Alnum, 59, 59)]),
    // source: https://socket.dev/changelog/consistent-masked-displays-for-api-keys (the prefix; no length is documented)
    token("socket-api-key", "sktsec_", &[Run(Base64Url, 36, 100)]).check(Mixed(14)),
    // source: https://semgrep.dev/docs/semgrep-ci/ci-environment-variables
    named("semgrep-token", &["semgrep app token", "semgrep token"], HEX_LOWER_64).check(Mixed(9)),
    // source: https://www.infracost.io/docs/
    token("infracost-api-key", "ico-", &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://docs.percy.io/docs/environment-variables (prefixes observed)
    token("percy-web-token", "web_", HEX_LOWER_64),
    token("percy-app-token", "app_", HEX_LOWER_64),
    // source: https://docs.cypress.io/cloud/account-management/projects#Record-key
    token("cypress-record-key", "", UUID).near(&["cypress record key"]),
    // source: https://www.browserstack.com/docs/automate/selenium/getting-started
    named("browserstack-access-key", &["browserstack access key", "browserstack key"], &[Run(Alnum, 20, 20)]).check(Mixed(10)),
    // source: https://docs.saucelabs.com/basics/environment-variables/
    token("saucelabs-access-key", "", UUID).near(&["sauce access key", "saucelabs access key"]),
    // source: https://docs.expo.dev/accounts/programmatic-access/
    named("expo-token", &["expo token"], &[Run(Base64Url, 40, 40)]).check(Mixed(16)),
    // source: https://ionic.io/docs/appflow/personal-access-tokens (prefix observed)
    token("ionic-token", "ion_", &[Run(LowerDigit, 42, 42)]).check(Mixed(14)),
    // ---- Package registries ----
    // source: https://github.blog/changelog/2021-09-23-npm-has-a-new-access-token-format/
    token("npm-access-token", "npm_", ALNUM_36).check(Mixed(14)),
    // source: https://docs.npmjs.com/cli/configuring-npm/npmrc
    token("npm-registry-auth-token", ":_authToken=", &[Run(Bearer, 30, 1000)]).check(Mixed(9)),
    // source: https://pypi.org/help/#apitoken (a macaroon: the beginning is the site's name in base 64)
    token("pypi-api-token", "pypi-AgEIcHlwaS5vcmc", &[Run(Base64Url, 50, 1000)]),
    token("pypi-test-api-token", "pypi-AgENdGVzdC5weXBpLm9yZw", &[Run(Base64Url, 50, 1000)]),
    // source: https://guides.rubygems.org/api-key-scopes/
    token("rubygems-api-key", "rubygems_", &[Run(HexLower, 48, 48)]),
    // source: https://doc.rust-lang.org/cargo/reference/registry-authentication.html (prefix observed)
    token("crates-io-token", "cio", &[Run(Alnum, 32, 32)]).check(Mixed(14)),
    // source: https://learn.microsoft.com/en-us/nuget/nuget-org/scoped-api-keys (prefix observed)
    token("nuget-api-key", "oy2", &[Run(LowerDigit, 43, 43)]).check(Mixed(14)),
    // source: https://docs.docker.com/security/access-tokens/ (prefixes observed)
    token("docker-hub-token", "dckr_pat_", &[Run(Base64Url, 27, 27)]),
    token("docker-hub-organization-token", "dckr_oat_", &[Run(Base64Url, 32, 32)]),
    // source: https://jfrog.com/help/r/jfrog-platform-administration-documentation/access-tokens (forms observed)
    token("artifactory-api-key", "AKCp", &[Run(Alnum, 69, 69)]),
    token("artifactory-reference-token", "cmVmdGtu", &[Run(Alnum, 56, 56)]).check(Mixed(16)),
    // source: https://github.com/clojars/clojars-web/wiki/Deploy-Tokens
    token("clojars-token", "CLOJARS_", &[Run(LowerDigit, 60, 60)]),
    // source: https://packagist.com/docs/api (prefix observed; the letters say what kind of token)
    token("packagist-token", "packagist_", &[Run(Lower, 3, 3), Text("_"), Run(HexLower, 60, 80)]),
    // source: https://help.cloudsmith.io/docs/api-key
    named("cloudsmith-api-key", &["cloudsmith api key", "cloudsmith token"], HEX_LOWER_40).check(Mixed(9)),
    // ---- Artificial intelligence ----
    // source: https://platform.openai.com/docs/api-reference/authentication (forms observed)
    // Loosened: the marker `T3BlbkFJ` in the middle of the newer keys stands after a run that could hold it, so only prefix and length are asked.
    token("openai-legacy-api-key", "sk-", &[Run(Alnum, 20, 20), Text("T3BlbkFJ"), Run(Alnum, 20, 20)]),
    token("openai-project-key", "sk-proj-", &[Run(Base64Url, 40, 220)]).check(Mixed(20)),
    token("openai-service-account-key", "sk-svcacct-", &[Run(Base64Url, 40, 220)]).check(Mixed(20)),
    token("openai-admin-key", "sk-admin-", &[Run(Base64Url, 40, 220)]).check(Mixed(20)),
    // source: https://docs.claude.com/en/api/overview (forms observed)
    token("anthropic-api-key", "sk-ant-api", ANTHROPIC_TAIL),
    token("anthropic-admin-key", "sk-ant-admin", ANTHROPIC_TAIL),
    token("anthropic-oauth-token", "sk-ant-oat", ANTHROPIC_TAIL),
    token("anthropic-oauth-refresh-token", "sk-ant-ort", ANTHROPIC_TAIL),
    // source: https://console.groq.com/docs/quickstart (form observed)
    token("groq-api-key", "gsk_", &[Run(Alnum, 52, 52)]),
    // source: https://docs.perplexity.ai/ (form observed)
    token("perplexity-api-key", "pplx-", &[Run(Alnum, 48, 56)]),
    // source: https://replicate.com/docs/topics/security/api-tokens
    token("replicate-token", "r8_", &[Run(Alnum, 37, 37)]),
    // source: https://docs.x.ai/docs/overview (form observed)
    token("xai-api-key", "xai-", &[Run(Alnum, 80, 80)]),
    // source: https://huggingface.co/docs/hub/security-tokens (lengths observed)
    token("huggingface-user-token", "hf_", &[Run(Alnum, 34, 37)]).check(Entropy(14)),
    token("huggingface-organization-token", "api_org_", &[Run(Alnum, 34, 34)]),
    // source: https://docs.cohere.com/reference/about (length observed)
    named("cohere-api-key", &["cohere api key", "cohere key", "cohere api token"], &[Run(Alnum, 40, 40)]).check(Mixed(14)),
    // source: https://docs.mistral.ai/getting-started/quickstart (length observed)
    named("mistral-api-key", &["mistral api key", "mistral key", "mistral token"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://api-docs.deepseek.com/ (form observed)
    token("deepseek-api-key", "sk-", HEX_LOWER_32).near(&["deepseek"]).check(Mixed(9)),
    // source: https://openrouter.ai/docs/api-reference/authentication (length observed)
    token("openrouter-api-key", "sk-or-v1-", HEX_LOWER_64),
    // source: https://docs.together.ai/docs/quickstart (form observed)
    token("together-api-key", "tgp_v1_", &[Run(Base64Url, 43, 43)]),
    named("together-legacy-api-key", &["together api key", "together ai api key"], HEX_LOWER_64).check(Mixed(9)),
    // source: https://docs.fireworks.ai/getting-started/quickstart (form observed)
    token("fireworks-api-key", "fw_", &[Run(Alnum, 22, 24)]).check(Mixed(13)),
    // source: https://inference-docs.cerebras.ai/quickstart (form observed)
    token("cerebras-api-key", "csk-", &[Run(LowerDigit, 48, 48)]).check(Mixed(14)),
    // source: https://docs.nvidia.com/ngc/gpu-cloud/ngc-user-guide/index.html (form observed)
    token("nvidia-api-key", "nvapi-", &[Run(Base64Url, 60, 70)]).check(Mixed(16)),
    // source: https://docs.voyageai.com/docs/api-key-and-installation (form observed)
    token("voyage-api-key", "pa-", &[Run(Base64Url, 43, 43)]).near(&["voyage"]).check(Mixed(16)),
    // source: https://elevenlabs.io/docs/api-reference/authentication (form observed)
    token("elevenlabs-api-key", "sk_", &[Run(HexLower, 48, 48)]),
    // source: https://developers.deepgram.com/docs/create-additional-api-keys (length observed)
    named("deepgram-api-key", &["deepgram api key", "deepgram key", "deepgram token"], HEX_LOWER_40).check(Mixed(9)),
    // source: https://www.assemblyai.com/docs (length observed)
    named("assemblyai-api-key", &["assemblyai api key", "assemblyai key", "aai api key"], HEX_LOWER_32).check(Mixed(9)),
    // source: https://docs.pinecone.io/guides/production/manage-api-keys (form observed)
    token("pinecone-api-key", "pcsk_", &[Run(Alnum, 5, 6), Text("_"), Run(Alnum, 63, 63)]),
    // source: https://langfuse.com/docs/api-and-data-platform/features/public-api
    token("langfuse-secret-key", "sk-lf-", UUID),
    // source: https://docs.smith.langchain.com/administration/concepts#api-keys
    token("langsmith-personal-token", "lsv2_pt_", LANGSMITH_TAIL),
    token("langsmith-service-key", "lsv2_sk_", LANGSMITH_TAIL),
    // source: https://docs.wandb.ai/guides/track/environment-variables/ (length observed)
    named("wandb-api-key", &["wandb api key", "wandb key"], HEX_LOWER_40).check(Mixed(9)),
    // source: https://docs.runpod.io/get-started/api-keys (prefix observed)
    token("runpod-api-key", "rpa_", &[Run(Alnum, 40, 60)]).check(Mixed(14)),
    // source: https://jina.ai/reader/ (form observed)
    token("jina-api-key", "jina_", &[Run(Base64Url, 60, 60)]).check(Mixed(16)),
    // source: https://docs.tavily.com/documentation/api-reference/introduction (form observed)
    token("tavily-api-key", "tvly-", &[Run(Base64Url, 32, 50)]).check(Mixed(14)),
    // source: https://docs.firecrawl.dev/api-reference/introduction (form observed)
    token("firecrawl-api-key", "fc-", HEX_LOWER_32).check(Mixed(9)),
    // source: https://e2b.dev/docs/api-key (form observed)
    token("e2b-api-key", "e2b_", HEX_LOWER_40),
    // source: https://modal.com/docs/reference/modal.config (form observed)
    token("modal-token-secret", "as-", &[Run(Alnum, 22, 22)]).near(&["modal", "token secret"]).check(Mixed(12)),
    // source: https://platform.stability.ai/docs/getting-started/authentication
    token("stability-api-key", "sk-", &[Run(Alnum, 48, 48)]).near(&["stability", "dreamstudio"]).check(Mixed(14)),
    // source: https://docs.z.ai/api-reference/introduction (form observed)
    named("zhipu-api-key", &["zhipu", "bigmodel", "glm api key", "zai api key"], &[Run(HexLower, 32, 32), Text("."), Run(Alnum, 16, 16)]),
    // source: https://help.aliyun.com/en/model-studio/get-api-key (form observed)
    token("dashscope-api-key", "sk-", HEX_LOWER_32).near(&["dashscope", "qwen", "modelstudio"]).check(Mixed(9)),
    // source: https://docs.apify.com/platform/integrations/api
    token("apify-token", "apify_api_", &[Run(Alnum, 36, 36)]),
    // Observed: the OpenAI-compatible services hand out keys of this form; a name for it must stand before it.
    token("generic-sk-key", "sk-", &[Run(Alnum, 32, 64)]).near(&["api key", "secret key", "bearer"]).check(Mixed(14)),
    // ---- Payments and commerce ----
    // source: https://docs.stripe.com/keys (Clerk and Paystack hand out keys of the same prefixes, https://clerk.com/docs/deployments/clerk-environment-variables)
    token("stripe-secret-key", "sk_live_", STRIPE_TAIL).check(Mixed(9)),
    token("stripe-test-secret-key", "sk_test_", STRIPE_TAIL).check(Mixed(9)),
    token("stripe-restricted-key", "rk_live_", STRIPE_TAIL).check(Mixed(9)),
    token("stripe-test-restricted-key", "rk_test_", STRIPE_TAIL).check(Mixed(9)),
    // source: https://docs.stripe.com/webhooks (also https://docs.svix.com/receiving/verifying-payloads/how)
    token("stripe-webhook-secret", "whsec_", &[Run(Base64, 32, 88)]).check(Mixed(14)),
    // source: https://docs.stripe.com/api/payment_intents/object#payment_intent_object-client_secret
    token("stripe-payment-intent-secret", "pi_", &[Run(Alnum, 24, 24), Text("_secret_"), Run(Alnum, 25, 25)]),
    // source: https://developer.squareup.com/docs/build-basics/access-tokens (forms observed)
    token("square-access-token", "sq0atp-", &[Run(Base64Url, 22, 22)]),
    token("square-oauth-secret", "sq0csp-", &[Run(Base64Url, 43, 43)]),
    token("square-sandbox-oauth-secret", "sq0csb-", &[Run(Base64Url, 43, 43)]),
    token("square-production-access-token", "EAAA", &[Run(Base64Url, 60, 60)]).near(&["square"]).check(Mixed(16)),
    // source: https://developer.paypal.com/api/rest/ (form observed)
    named("paypal-client-secret", &["paypal client secret", "paypal secret"], &[Run(Base64Url, 80, 80)]).check(Mixed(20)),
    // source: https://developer.paypal.com/braintree/docs/guides/extend/oauth/access-tokens
    token("braintree-access-token", "access_token$production$", BRAINTREE_TAIL),
    token("braintree-sandbox-access-token", "access_token$sandbox$", BRAINTREE_TAIL),
    // source: https://docs.adyen.com/development-resources/api-credentials/ (form observed)
    token("adyen-api-key", "AQE", &[Run(Printable, 80, 300)]).near(&["adyen", "api key"]).check(Mixed(20)),
    // source: https://plaid.com/docs/api/tokens/
    token("plaid-access-token", "access-production-", UUID),
    token("plaid-development-access-token", "access-development-", UUID),
    token("plaid-sandbox-access-token", "access-sandbox-", UUID),
    named("plaid-secret", &["plaid secret", "plaid api secret"], &[Run(HexLower, 30, 30)]).check(Mixed(9)),
    // source: https://razorpay.com/docs/payments/dashboard/account-settings/api-keys/
    token("razorpay-key-id", "rzp_live_", &[Run(Alnum, 14, 14)]).check(Entropy(7)),
    token("razorpay-test-key-id", "rzp_test_", &[Run(Alnum, 14, 14)]).check(Entropy(7)),
    named("razorpay-key-secret", &["razorpay key secret", "razorpay secret", "rzp secret", "rzp key secret"], &[Run(Alnum, 24, 24)]).check(Mixed(12)),
    // source: https://docs.mollie.com/reference/authentication
    token("mollie-api-key", "live_", &[Run(Alnum, 30, 35)]).near(&["mollie"]).check(Mixed(12)),
    token("mollie-test-api-key", "test_", &[Run(Alnum, 30, 35)]).near(&["mollie"]).check(Mixed(12)),
    // source: https://developer.gocardless.com/api-reference/#making-requests
    token("gocardless-access-token", "live_", &[Run(Base64Url, 40, 40)]).near(&["gocardless"]).check(Mixed(14)),
    token("gocardless-sandbox-access-token", "sandbox_", &[Run(Base64Url, 40, 40)]).near(&["gocardless"]).check(Mixed(14)),
    // source: https://docs.cdp.coinbase.com/ (length observed)
    named("coinbase-api-secret", &["coinbase api secret", "coinbase secret", "cb access key", "coinbase access token"], &[Run(Base64Url, 64, 64)])
        .check(Mixed(14)),
    // source: https://developer.flutterwave.com/v3.0/docs/authentication
    token("flutterwave-secret-key", "FLWSECK-", FLUTTERWAVE_TAIL),
    token("flutterwave-test-secret-key", "FLWSECK_TEST-", FLUTTERWAVE_TAIL),
    // source: https://www.mercadopago.com/developers/en/docs/your-integrations/credentials
    token("mercadopago-access-token", "APP_USR-", MERCADO_TAIL),
    token("mercadopago-test-access-token", "TEST-", MERCADO_TAIL),
    // source: https://docs.xendit.co/docs/api-keys
    token("xendit-secret-key", "xnd_production_", &[Run(Alnum, 40, 80)]),
    token("xendit-development-secret-key", "xnd_development_", &[Run(Alnum, 40, 80)]),
    // source: https://developer.paddle.com/api-reference/about/authentication
    token("paddle-api-key", "pdl_live_apikey_", PADDLE_TAIL),
    token("paddle-sandbox-api-key", "pdl_sdbx_apikey_", PADDLE_TAIL),
    token("paddle-webhook-secret", "pdl_ntfset_", &[Run(LowerDigit, 26, 26), Text("_"), Run(Base64, 32, 44)]),
    // source: https://polar.sh/docs/integrate/oat (length observed)
    token("polar-organization-token", "polar_oat_", &[Run(Alnum, 36, 60)]),
    token("polar-personal-token", "polar_pat_", &[Run(Alnum, 36, 60)]),
    // source: https://docs.mercury.com/reference/getting-started-with-your-api (and RFC 8959)
    token("mercury-token", "secret-token:mercury_", &[Run(Token, 30, 160)]).check(Mixed(12)),
    // source: https://docs.ramp.com/developer-api/v1/authorization (length observed)
    token("ramp-client-secret", "ramp_sec_", &[Run(Alnum, 48, 48)]),
    // source: https://docs.withpersona.com/api-keys
    token("persona-api-key", "persona_production_", UUID),
    token("persona-sandbox-api-key", "persona_sandbox_", UUID),
    // source: https://docs.goshippo.com/docs/guides_general/authentication/
    token("shippo-token", "shippo_live_", HEX_LOWER_40),
    token("shippo-test-token", "shippo_test_", HEX_LOWER_40),
    // source: https://docs.easypost.com/docs/authentication
    token("easypost-api-key", "EZAK", &[Run(Alnum, 54, 54)]),
    token("easypost-test-api-key", "EZTK", &[Run(Alnum, 54, 54)]),
    // source: https://docs.lob.com/#section/API-Keys
    token("lob-api-key", "live_", &[Run(HexLower, 35, 35)]).near(&["lob api key", "lob com", "lob secret", "lob live"]).check(Mixed(9)),
    // source: https://duffel.com/docs/api/overview/authentication
    token("duffel-token", "duffel_live_", &[Run(Base64Url, 43, 43)]),
    token("duffel-test-token", "duffel_test_", &[Run(Base64Url, 43, 43)]),
    // source: https://shopify.dev/docs/apps/build/authentication-authorization (prefixes; https://shopify.dev/changelog/length-of-the-shopify-access-token-is-increasing)
    token("shopify-access-token", "shpat_", HEX_32),
    token("shopify-custom-app-token", "shpca_", HEX_32),
    token("shopify-private-app-password", "shppa_", HEX_32),
    token("shopify-shared-secret", "shpss_", HEX_32),
    token("shopify-user-token", "shpua_", HEX_32),
    // source: https://woocommerce.github.io/woocommerce-rest-api-docs/#authentication
    token("woocommerce-consumer-key", "ck_", HEX_LOWER_40),
    token("woocommerce-consumer-secret", "cs_", HEX_LOWER_40),
    // source: https://developer.ebay.com/api-docs/static/oauth-tokens.html
    token("ebay-user-token", "v^1.1#i^1#", &[Run(Printable, 80, 3000)]),
    // source: https://developer.ebay.com/api-docs/static/creating-edp-account.html (form observed)
    token("ebay-client-secret", "PRD-", EBAY_TAIL),
    token("ebay-sandbox-client-secret", "SBX-", EBAY_TAIL),
    // source: https://docs.alchemy.com/docs/alchemy-quickstart-guide (prefix observed)
    token("alchemy-key", "alcht_", &[Run(Alnum, 30, 30)]).check(Mixed(12)),
    // source: https://docs.metamask.io/services/get-started/endpoints/
    token("infura-url", "infura.io/v3/", HEX_LOWER_32).check(Mixed(9)),
    // source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security (length observed)
    named("binance-api-secret", &["binance api secret", "binance secret", "binance secret key"], &[Run(Alnum, 64, 64)]).check(Mixed(20)),
    // source: https://docs.kraken.com/api/docs/guides/spot-rest-auth
    named("kraken-private-key", &["kraken private key", "kraken secret", "kraken api secret"], &[Run(Base64, 88, 88)]).check(Mixed(20)),
    // ---- Messages, mail and telephony ----
    // source: https://docs.slack.dev/authentication/tokens (prefixes; parts observed)
    token("slack-bot-token", "xoxb-", &[Run(Digit, 10, 14), Text("-"), Run(Digit, 10, 14), Text("-"), Run(Alnum, 20, 34)]),
    token("slack-legacy-bot-token", "xoxb-", &[Run(Digit, 8, 14), Text("-"), Run(Alnum, 18, 26)]),
    token("slack-user-token", "xoxp-", SLACK_USER_TAIL),
    token("slack-session-token", "xoxc-", SLACK_USER_TAIL),
    token("slack-legacy-session-token", "xoxs-", SLACK_USER_TAIL),
    token("slack-session-cookie", "xoxd-", &[Run(Userinfo, 80, 400)]).check(Mixed(20)),
    token("slack-workspace-token", "xoxa-", &[Run(Base64Url, 24, 120)]).check(Mixed(10)),
    token("slack-workspace-refresh-token", "xoxr-", &[Run(Base64Url, 24, 120)]).check(Mixed(10)),
    token(
        "slack-app-token",
        "xapp-",
        &[Run(Digit, 1, 1), Text("-"), Run(UpperDigit, 9, 13), Text("-"), Run(Digit, 10, 14), Text("-"), Run(HexLower, 64, 64)],
    ),
    token("slack-configuration-token", "xoxe.xoxp-", &[Run(Digit, 1, 1), Text("-"), Run(Alnum, 120, 220)]),
    token("slack-configuration-bot-token", "xoxe.xoxb-", &[Run(Digit, 1, 1), Text("-"), Run(Alnum, 120, 220)]),
    token("slack-configuration-refresh-token", "xoxe-", &[Run(Digit, 1, 1), Text("-"), Run(Alnum, 120, 220)]),
    // source: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    token(
        "slack-webhook",
        "hooks.slack.com/services/T",
        &[Run(UpperDigit, 8, 12), Text("/B"), Run(UpperDigit, 8, 12), Text("/"), Run(Alnum, 23, 25)],
    ),
    token("slack-workflow-webhook", "hooks.slack.com/workflows/T", SLACK_WORKFLOW_PATH),
    token("slack-trigger-webhook", "hooks.slack.com/triggers/", SLACK_TRIGGER_PATH),
    // source: https://www.twilio.com/docs/iam/api-keys
    token("twilio-api-key", "SK", HEX_LOWER_32).check(Mixed(9)),
    token("twilio-account-sid", "AC", HEX_LOWER_32).near(&["twilio", "account sid"]).check(Mixed(9)),
    named("twilio-auth-token", &["twilio auth token", "twilio token", "twilio auth"], HEX_LOWER_32).check(Mixed(9)),
    named("twilio-api-secret", &["twilio api secret", "twilio api key secret", "twilio secret"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys (lengths observed)
    token("sendgrid-api-key", "SG.", &[Run(Base64Url, 22, 22), Text("."), Run(Base64Url, 43, 43)]),
    // source: https://documentation.mailgun.com/docs/mailgun/api-reference/mg-auth (forms observed)
    token("mailgun-legacy-api-key", "key-", &[Run(LowerDigit, 32, 32)]).near(&["mailgun", "mg api key"]).check(Mixed(9)),
    named(
        "mailgun-api-key",
        &["mailgun", "mg api key", "api key"],
        &[Run(HexLower, 32, 32), Text("-"), Run(HexLower, 8, 8), Text("-"), Run(HexLower, 8, 8)],
    ),
    // source: https://mailchimp.com/developer/marketing/guides/quick-start/
    named("mailchimp-api-key", &["mailchimp", "mc api key", "api key"], &[Run(HexLower, 32, 32), Text("-us"), Run(Digit, 1, 2)]),
    // source: https://mailchimp.com/developer/transactional/guides/quick-start/ (prefix observed)
    token("mandrill-api-key", "md-", &[Run(Base64Url, 22, 22)]).near(&["mandrill", "mailchimp"]).check(Mixed(12)),
    // source: https://postmarkapp.com/developer/api/overview#authentication
    token("postmark-token", "", UUID).near(POSTMARK_WORDS),
    // source: https://developers.brevo.com/docs/getting-started (lengths observed; Sendinblue is its former name)
    token("brevo-api-key", "xkeysib-", BREVO_TAIL),
    token("brevo-smtp-key", "xsmtpsib-", BREVO_TAIL),
    // source: https://resend.com/docs/dashboard/api-keys/introduction (parts observed)
    token("resend-api-key", "re_", &[Run(Alnum, 8, 8), Text("_"), Run(Alnum, 24, 24)]).check(Mixed(14)),
    // source: https://developers.mailersend.com/general.html#authentication
    token("mailersend-token", "mlsn.", HEX_LOWER_64),
    // source: https://dev.mailjet.com/email/guides/getting-started/
    named("mailjet-secret", &["mailjet api secret", "mailjet secret", "mj api key private", "mailjet secret key"], HEX_LOWER_32).check(Mixed(9)),
    // source: https://developers.sparkpost.com/api/
    named("sparkpost-api-key", &["sparkpost api key", "sparkpost key"], HEX_LOWER_40).check(Mixed(9)),
    // source: https://developers.klaviyo.com/en/docs/retrieve_api_credentials
    token("klaviyo-private-key", "pk_", &[Run(HexLower, 34, 34)]).check(Mixed(9)),
    token("klaviyo-private-key-account", "pk_", &[Run(Alnum, 6, 6), Text("_"), Run(HexLower, 34, 34)]),
    // source: https://documentation.onesignal.com/docs/keys-and-ids (lengths observed)
    token("onesignal-app-key", "os_v2_app_", &[Run(LowerDigit, 80, 120)]),
    token("onesignal-organization-key", "os_v2_org_", &[Run(LowerDigit, 80, 120)]),
    // source: https://www.courier.com/docs/reference/intro (form observed)
    token("courier-api-key", "pk_prod_", &[Run(UpperDigit, 28, 28)]),
    // source: https://developer.vonage.com/en/getting-started/concepts/authentication
    named("vonage-api-secret", &["vonage api secret", "nexmo api secret", "nexmo secret", "vonage secret"], &[Run(Alnum, 16, 16)]).check(Mixed(8)),
    // source: https://developers.messagebird.com/api/#authentication (length observed)
    named("messagebird-access-key", &["messagebird"], &[Run(Alnum, 25, 25)]).check(Mixed(12)),
    // source: https://www.plivo.com/docs/account/api/overview#authentication (length observed)
    named("plivo-auth-token", &["plivo auth token", "plivo token"], &[Run(Base64Url, 40, 40)]).check(Mixed(12)),
    // source: https://developers.telnyx.com/api/authentication (form observed)
    token("telnyx-api-key", "KEY0", &[Run(HexUpper, 31, 31), Text("_"), Run(Alnum, 22, 22)]),
    // source: https://core.telegram.org/bots/api#authorizing-your-bot (length observed; the number before the colon is the public name of the bot)
    token("telegram-bot-token", ":AA", &[Run(Base64Url, 33, 33)]).near(&["telegram", "bot", "tg", "token"]).check(Mixed(14)),
    // source: https://discord.com/developers/docs/reference#authentication
    named(
        "discord-bot-token",
        &["discord", "bot", "token"],
        &[Run(Base64Url, 24, 28), Text("."), Run(Base64Url, 6, 6), Text("."), Run(Base64Url, 27, 38)],
    )
    .check(Mixed(20)),
    named("discord-client-secret", &["discord client secret", "discord secret"], &[Run(Base64Url, 32, 32)]).check(Mixed(14)),
    // source: https://discord.com/developers/docs/resources/webhook
    token("discord-webhook", "discord.com/api/webhooks/", DISCORD_PATH),
    token("discord-legacy-webhook", "discordapp.com/api/webhooks/", DISCORD_PATH),
    // source: https://developers.mattermost.com/integrate/reference/personal-access-token/
    named("mattermost-token", &["mattermost token", "mm token", "mattermost access token", "mattermost bot token"], &[Run(LowerDigit, 26, 26)])
        .check(Mixed(11)),
    // source: https://zulip.com/api/api-keys
    named("zulip-api-key", &["zulip api key", "zulip key", "zulip bot api key"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://developer.webex.com/docs/bots (form observed)
    named("webex-bot-token", &["webex", "cisco", "bot"], WEBEX_TOKEN),
    // source: https://developers.line.biz/en/docs/basics/channel-access-token/ (length observed)
    named("line-channel-access-token", &["line channel access token", "line access token", "channel access token"], &[Run(Base64, 168, 176)])
        .check(Mixed(30)),
    // source: https://developers.zoom.us/docs/internal-apps/s2s-oauth/ (length observed)
    named("zoom-client-secret", &["zoom client secret", "zoom api secret", "zoom secret"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://ably.com/docs/auth/basic (the secret, which stands after the public name and a colon; length observed)
    named("ably-api-key", &["ably api key", "ably key"], &[Run(Base64Url, 43, 43)]).check(Mixed(16)),
    // source: https://pusher.com/docs/channels/library_auth_reference/rest-api/
    named("pusher-secret", &["pusher app secret", "pusher secret"], &[Run(HexLower, 20, 20)]).check(Mixed(7)),
    // source: https://www.pubnub.com/docs/general/setup/account-setup (forms observed)
    token("pubnub-secret-key", "sec-c-", &[Run(Base64, 48, 64)]).check(Mixed(14)),
    token("pubnub-publish-key", "pub-c-", UUID),
    // source: https://docs.livekit.io/home/self-hosting/deployment/ (length observed)
    named("livekit-api-secret", &["livekit api secret", "livekit secret"], &[Run(Alnum, 40, 50)]).check(Mixed(14)),
    // source: https://getstream.io/chat/docs/ (length observed)
    named("getstream-secret", &["stream api secret", "get stream secret", "stream secret"], &[Run(LowerDigit, 64, 64)]).check(Mixed(14)),
    // ---- Social networks ----
    // source: https://developers.facebook.com/docs/facebook-login/guides/access-tokens
    token("facebook-access-token", "EAA", &[Run(Alnum, 100, 500)]).check(Mixed(20)),
    named("facebook-app-secret", &["facebook app secret", "fb app secret", "facebook secret", "facebook client secret"], HEX_LOWER_32)
        .check(Mixed(9)),
    // source: https://developers.facebook.com/docs/instagram-platform/ (prefixes observed)
    token("instagram-access-token", "IGQ", &[Run(Base64Url, 100, 500)]).check(Mixed(20)),
    token("instagram-login-access-token", "IGAA", &[Run(Base64Url, 100, 500)]).check(Mixed(20)),
    // source: https://docs.x.com/fundamentals/authentication/oauth-2-0/application-only
    token("twitter-bearer-token", "AAAAAAAAAAAAAAAAAAAAA", &[Run(Userinfo, 60, 150)]).near(&["twitter", "bearer"]).check(Mixed(16)),
    // source: https://docs.x.com/fundamentals/authentication/oauth-1-0a/api-key-and-secret (lengths observed)
    named("twitter-api-secret", &["twitter api secret", "twitter consumer secret", "twitter api key secret"], &[Run(Alnum, 50, 50)]).check(Mixed(16)),
    named("twitter-access-token", &["twitter access token", "twitter oauth token"], &[Run(Digit, 8, 20), Text("-"), Run(Alnum, 30, 42)])
        .check(Mixed(14)),
    named(
        "twitter-access-token-secret",
        &["twitter access token secret", "twitter access secret", "twitter oauth token secret"],
        &[Run(Alnum, 45, 45)],
    )
    .check(Mixed(14)),
    // source: https://learn.microsoft.com/en-us/linkedin/shared/authentication/client-credentials-flow (forms observed)
    token("linkedin-client-secret", "WPL_AP1.", &[Run(Alnum, 16, 16), Text("."), Run(Base64, 6, 10)]),
    named("linkedin-legacy-client-secret", &["linkedin client secret", "linkedin secret"], &[Run(Alnum, 16, 16)]).check(Mixed(8)),
    token("linkedin-access-token", "AQ", &[Run(Base64Url, 150, 600)]).near(&["linkedin"]).check(Mixed(20)),
    // source: https://dev.twitch.tv/docs/authentication/ (lengths observed)
    token("twitch-chat-token", "oauth:", &[Run(LowerDigit, 30, 30)]).check(Mixed(11)),
    named("twitch-client-secret", &["twitch client secret", "twitch secret", "twitch access token"], &[Run(LowerDigit, 30, 30)]).check(Mixed(11)),
    // source: https://developer.spotify.com/documentation/web-api/concepts/apps
    named("spotify-client-secret", &["spotify client secret", "spotify secret"], HEX_LOWER_32).check(Mixed(9)),
    // source: https://github.com/reddit-archive/reddit/wiki/OAuth2-App-Types (length observed)
    named("reddit-client-secret", &["reddit client secret", "reddit secret"], &[Run(Base64Url, 27, 30)]).check(Mixed(12)),
    // source: https://developers.pinterest.com/docs/getting-started/set-up-authentication-and-authorization/
    token("pinterest-access-token", "pina_", &[Run(Alnum, 32, 300)]).check(Mixed(14)),
    // ---- Work and customers ----
    // source: https://developers.intercom.com/docs/build-an-integration/learn-more/authentication (the base 64 of `tok:`)
    token("intercom-access-token", "dG9rO", &[Run(Base64, 55, 55)]),
    // source: https://developer.zendesk.com/api-reference/introduction/security-and-auth/
    named("zendesk-api-token", &["zendesk api token", "zendesk token", "zendesk api key"], &[Run(Alnum, 40, 40)]).check(Mixed(14)),
    // source: https://developers.freshdesk.com/api/#authentication
    named("freshdesk-api-key", &["freshdesk api key", "freshdesk key", "freshdesk api token"], &[Run(Alnum, 20, 20)]).check(Mixed(10)),
    // source: https://developers.hubspot.com/docs/guides/apps/private-apps/overview
    token("hubspot-private-app-token", "pat-", HUBSPOT_TAIL),
    // source: https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_tokens_scopes.htm (form observed)
    token("salesforce-access-token", "00D", &[Run(Alnum, 12, 15), Text("!"), Run(Token, 80, 250)]),
    token("salesforce-refresh-token", "5Aep861", &[Run(Token, 60, 120)]).check(Mixed(16)),
    // source: https://pipedrive.readme.io/docs/core-api-concepts-authentication
    named("pipedrive-api-token", &["pipedrive api token", "pipedrive token", "pipedrive api key"], HEX_LOWER_40).check(Mixed(9)),
    // source: https://www.zoho.com/crm/developer/docs/api/v8/oauth-overview.html
    token("zoho-token", "1000.", &[Run(HexLower, 32, 32), Text("."), Run(HexLower, 32, 32)]),
    // source: https://developer.close.com/topics/authentication/ (form observed)
    token("close-api-key", "api_", &[Run(Alnum, 20, 24), Text("."), Run(Alnum, 20, 24)]).check(Mixed(16)),
    // source: https://airtable.com/developers/web/api/authentication
    token("airtable-personal-token", "pat", &[Run(Alnum, 14, 14), Text("."), Run(HexLower, 64, 64)]),
    token("airtable-legacy-api-key", "key", &[Run(Alnum, 14, 14)]).near(&["airtable"]).check(Mixed(9)),
    // source: https://developers.notion.com/reference/authentication (lengths observed)
    token("notion-token", "ntn_", &[Run(Digit, 11, 11), Run(Alnum, 35, 35)]),
    token("notion-legacy-token", "secret_", &[Run(Alnum, 43, 43)]).check(Mixed(16)),
    // source: https://developers.asana.com/docs/personal-access-token (forms observed)
    token("asana-token", "1/", &[Run(Digit, 12, 20), Text(":"), Run(HexLower, 32, 32)]),
    token("asana-token-2", "2/", &[Run(Digit, 12, 20), Text("/"), Run(Digit, 12, 20), Text(":"), Run(HexLower, 32, 32)]),
    token("asana-legacy-token", "0/", HEX_LOWER_32).near(&["asana"]).check(Mixed(9)),
    // source: https://linear.app/developers/graphql#authentication (lengths observed)
    token("linear-api-key", "lin_api_", &[Run(Alnum, 40, 40)]),
    token("linear-oauth-token", "lin_oauth_", HEX_LOWER_64),
    // source: https://developer.clickup.com/docs/authentication
    token("clickup-token", "pk_", &[Run(Digit, 6, 12), Text("_"), Run(UpperDigit, 32, 32)]),
    // source: https://developer.todoist.com/api/v1/ (length observed)
    named("todoist-token", &["todoist api token", "todoist token", "todoist api key"], HEX_LOWER_40).check(Mixed(9)),
    // source: https://developers.figma.com/docs/rest-api/authentication/ (length observed)
    token("figma-token", "figd_", &[Run(Base64Url, 40, 48)]).check(Mixed(14)),
    // source: https://developers.dropbox.com/oauth-guide (forms observed)
    token("dropbox-access-token", "sl.", &[Run(Token, 130, 2500)]).check(Mixed(20)),
    named("dropbox-legacy-access-token", &["dropbox"], &[Run(Base64Url, 11, 11), Text("AAAAAAAAAA"), Run(Base64Url, 43, 43)]),
    named("dropbox-app-secret", &["dropbox app secret", "dropbox secret", "dropbox client secret"], &[Run(LowerDigit, 15, 15)]).check(Mixed(8)),
    // source: https://developer.box.com/guides/authentication/client-credentials/ (length observed)
    named("box-client-secret", &["box client secret", "box secret"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://www.typeform.com/developers/get-started/personal-access-token/
    token("typeform-token", "tfp_", &[Run(Token, 40, 64)]).check(Mixed(14)),
    // source: https://api.jotform.com/docs/ (length observed)
    named("jotform-api-key", &["jotform api key", "jotform key"], HEX_LOWER_32).check(Mixed(9)),
    // source: https://cal.com/docs/api-reference/v2/introduction
    token("cal-com-api-key", "cal_live_", HEX_LOWER_32),
    // source: https://dub.co/docs/api-reference/tokens
    token("dub-api-key", "dub_", &[Run(Alnum, 24, 24)]).check(Mixed(12)),
    // source: https://developer.adobe.com/developer-console/docs/guides/authentication/ServerToServerAuthentication/ (form observed)
    token("adobe-client-secret", "p8e-", &[Run(Base64Url, 32, 32)]).check(Mixed(14)),
    // source: https://developer.frame.io/docs/getting-started/authentication (form observed)
    token("frameio-token", "fio-u-", &[Run(Base64Url, 64, 64)]).check(Mixed(16)),
    // source: https://www.contentful.com/developers/docs/references/authentication/
    token("contentful-management-token", "CFPAT-", &[Run(Base64Url, 43, 43)]),
    named(
        "contentful-delivery-token",
        &["contentful access token", "contentful delivery token", "contentful preview token", "contentful cda access token"],
        &[Run(Base64Url, 43, 43)],
    )
    .check(Mixed(16)),
    // source: https://www.sanity.io/docs/content-lake/http-auth (length observed)
    token("sanity-token", "sk", &[Run(Alnum, 78, 200)]).near(&["sanity"]).check(Mixed(20)),
    // source: https://ghost.org/docs/admin-api/#token-authentication
    named("ghost-admin-key", &["ghost", "admin api key"], &[Run(HexLower, 24, 24), Text(":"), Run(HexLower, 64, 64)]),
    // source: https://docs.readme.com/main/reference/intro/authentication
    token("readme-api-key", "rdme_", &[Run(LowerDigit, 70, 70)]),
    // source: https://gitbook.com/docs/developers/gitbook-api/authentication (prefix observed)
    token("gitbook-token", "gb_api_", &[Run(Alnum, 36, 48)]),
    // source: https://learning.postman.com/docs/developer/postman-api/authentication/ (parts observed)
    token("postman-api-key", "PMAK-", &[Run(HexLower, 24, 24), Text("-"), Run(HexLower, 34, 34)]),
    token("postman-collection-token", "PMAT-", &[Run(UpperDigit, 26, 26)]),
    // source: https://docs.rapidapi.com/docs/keys-and-key-rotation (form observed)
    named("rapidapi-key", &["rapidapi"], RAPIDAPI_KEY),
    // source: https://developer.konghq.com/konnect-api/ (lengths observed)
    token("kong-personal-token", "kpat_", &[Run(Alnum, 40, 60)]).check(Mixed(14)),
    token("kong-system-token", "spat_", &[Run(Alnum, 40, 60)]).check(Mixed(14)),
    // source: https://zuplo.com/docs/articles/api-key-management
    token("zuplo-api-key", "zpka_", &[Run(HexLower, 32, 32), Text("_"), Run(HexLower, 8, 8)]),
    // ---- Data, analytics and flags ----
    // source: https://docs.databricks.com/aws/en/dev-tools/auth/pat (forms observed)
    token("databricks-token", "dapi", HEX_LOWER_32).check(Mixed(9)),
    token("databricks-oauth-secret", "dose", HEX_LOWER_32).check(Mixed(9)),
    // source: https://docs.snowflake.com/en/developer-guide/sql-api/authenticating (session token observed)
    token("snowflake-session-token", "ver:1-hint:", &[Run(Digit, 1, 20), Text("-"), Run(Base64, 80, 600)]),
    // source: https://docs.confluent.io/cloud/current/security/authenticate/workload-identities/service-accounts/api-keys/overview.html
    token("confluent-api-secret", "cflt", &[Run(Base64, 60, 60)]).check(Mixed(20)),
    named(
        "confluent-legacy-api-secret",
        &["confluent api secret", "confluent secret", "confluent cloud api secret", "ccloud api secret"],
        &[Run(Base64, 64, 64)],
    )
    .check(Mixed(20)),
    // source: https://docs.getdbt.com/docs/dbt-cloud-apis/authentication (prefixes; length observed)
    token("dbt-cloud-service-token", "dbtc_", &[Run(Base64Url, 30, 80)]).check(Mixed(14)),
    token("dbt-cloud-user-token", "dbtu_", &[Run(Base64Url, 30, 80)]).check(Mixed(14)),
    // source: https://docs.prefect.io/v3/how-to-guides/cloud/manage-users/api-keys (prefixes observed)
    token("prefect-api-key", "pnu_", ALNUM_36),
    token("prefect-service-account-key", "pnb_", ALNUM_36),
    // source: https://clickhouse.com/docs/cloud/manage/openapi (form observed)
    token("clickhouse-cloud-secret", "4b1d", &[Run(Alnum, 38, 38)]).check(Mixed(17)),
    // source: https://www.cockroachlabs.com/docs/cockroachcloud/managing-access (form observed)
    token("cockroachdb-cloud-key", "CCDB1_", &[Run(Alnum, 22, 22), Text("_"), Run(Alnum, 40, 40)]),
    // source: https://planetscale.com/docs/api/reference/service-tokens
    token("planetscale-service-token", "pscale_tkn_", PLANETSCALE_TAIL),
    token("planetscale-password", "pscale_pw_", PLANETSCALE_TAIL),
    token("planetscale-oauth-token", "pscale_oauth_", PLANETSCALE_TAIL),
    // source: https://neon.com/docs/manage/api-keys (lengths observed)
    token("neon-api-key", "napi_", &[Run(LowerDigit, 60, 70)]),
    token("neon-role-password", "npg_", &[Run(Alnum, 12, 16)]).check(Mixed(8)),
    // source: https://supabase.com/docs/guides/api/api-keys (parts observed)
    token("supabase-personal-token", "sbp_", HEX_LOWER_40),
    token("supabase-oauth-token", "sbp_oauth_", HEX_LOWER_40),
    token("supabase-secret-key", "sb_secret_", &[Run(Base64Url, 22, 22), Text("_"), Run(Base64Url, 8, 8)]),
    // source: https://www.mongodb.com/docs/atlas/api/service-accounts-overview/ (length observed)
    token("mongodb-atlas-service-account-secret", "mdb_sa_sk_", &[Run(Base64Url, 40, 40)]),
    token("mongodb-atlas-private-key", "", UUID).near(&["mongodb atlas private key", "atlas private key", "atlas api key", "mcli private api key"]),
    // source: https://redis.io/docs/latest/operate/rc/api/get-started/manage-api-keys/ (length observed)
    named("redis-cloud-secret-key", &["redis cloud secret key", "redis cloud api secret key", "redis cloud api secret"], &[Run(LowerDigit, 44, 50)])
        .check(Mixed(14)),
    // source: https://upstash.com/docs/redis/features/restapi (length observed)
    named("upstash-rest-token", &["upstash redis rest token", "upstash token", "kv rest api token", "qstash token"], &[Run(Base64, 40, 140)])
        .check(Mixed(16)),
    // source: https://www.tinybird.co/docs/forward/administration/tokens
    token("tinybird-token", "p.eyJ", &[Run(Token, 60, 500)]),
    // source: https://materialize.com/docs/manage/users-service-accounts/create-service-accounts/ (form observed)
    token("materialize-app-password", "mzp_", HEX_LOWER_64),
    // source: https://aiven.io/docs/platform/howto/reset-service-user-password (form observed)
    token("aiven-service-password", "AVNS_", &[Run(Base64Url, 15, 24)]).check(Mixed(9)),
    // source: https://xata.io/docs/getting-started/api-keys (length observed)
    token("xata-api-key", "xau_", &[Run(Alnum, 36, 44)]),
    // source: https://www.elastic.co/docs/deploy-manage/api-keys/elastic-cloud-api-keys (prefix observed)
    token("elastic-cloud-api-key", "essu_", &[Run(Base64, 40, 200)]).check(Mixed(14)),
    // source: https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-security-create-api-key (base 64 of id and key)
    token("elasticsearch-api-key", "ApiKey ", &[Run(Base64, 56, 80)]).check(Mixed(16)),
    // source: https://www.algolia.com/doc/guides/security/api-keys/
    named(
        "algolia-api-key",
        &["algolia api key", "algolia admin key", "algolia admin api key", "algolia write api key", "algolia search admin key"],
        HEX_LOWER_32,
    )
    .check(Mixed(9)),
    // source: https://segment.com/docs/api/public-api/ (length observed)
    token("segment-public-api-token", "sgp_", &[Run(Alnum, 64, 64)]),
    named("segment-write-key", &["segment write key", "segment io write key", "segment key"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://developer.mixpanel.com/reference/project-secret
    named("mixpanel-secret", &["mixpanel api secret", "mixpanel secret", "mixpanel project secret"], HEX_LOWER_32).check(Mixed(9)),
    // source: https://amplitude.com/docs/apis/authentication
    named("amplitude-secret-key", &["amplitude secret key", "amplitude api key", "amplitude api secret", "amplitude key"], HEX_LOWER_32)
        .check(Mixed(9)),
    // source: https://posthog.com/docs/api (lengths observed)
    token("posthog-personal-api-key", "phx_", &[Run(Alnum, 43, 48)]).check(Mixed(14)),
    token("posthog-project-api-key", "phc_", &[Run(Alnum, 43, 48)]).check(Mixed(14)),
    // source: https://developer.fullstory.com/server/authentication/ (form observed)
    token("fullstory-api-key", "na1.", &[Run(Base64, 90, 110)]).check(Mixed(20)),
    // source: https://docs.launchdarkly.com/home/account/api
    token("launchdarkly-sdk-key", "sdk-", UUID).near(LAUNCHDARKLY_WORDS),
    token("launchdarkly-access-token", "api-", UUID).near(LAUNCHDARKLY_WORDS),
    token("launchdarkly-mobile-key", "mob-", UUID).near(LAUNCHDARKLY_WORDS),
    // source: https://docs.statsig.com/sdk-keys/api-keys (length observed)
    token("statsig-secret-key", "secret-", &[Run(Alnum, 43, 43)]).check(Mixed(14)),
    // source: https://docs.flagsmith.com/clients/server-side
    token("flagsmith-server-key", "ser.", &[Run(Alnum, 22, 22)]).near(&["flagsmith"]).check(Mixed(11)),
    // source: https://docs.devcycle.com/platform/account-management/project-settings (prefix observed)
    token("devcycle-server-key", "dvc_server_", &[Run(Base64Url, 30, 80)]).check(Mixed(14)),
    // source: https://www.metabase.com/docs/latest/people-and-groups/api-keys (length observed)
    token("metabase-api-key", "mb_", &[Run(Base64, 44, 44)]).check(Mixed(16)),
    // source: https://cloud.google.com/looker/docs/api-auth (length observed)
    named("looker-client-secret", &["looker sdk client secret", "looker client secret", "looker secret"], &[Run(Alnum, 24, 24)]).check(Mixed(12)),
    // source: https://help.tableau.com/current/server/en-us/security_personal_access_tokens.htm (form observed)
    named("tableau-token-secret", &["tableau", "token secret", "pat secret"], &[Run(Base64, 22, 22), Text("==:"), Run(Alnum, 32, 32)]),
    // ---- Observability and incidents ----
    // source: https://docs.datadoghq.com/account_management/api-app-keys/
    named("datadog-api-key", &["dd api key", "datadog api key", "datadog key"], HEX_LOWER_32).check(Mixed(9)),
    named("datadog-application-key", &["dd app key", "dd application key", "datadog app key", "datadog application key"], HEX_LOWER_40)
        .check(Mixed(9)),
    // source: https://docs.newrelic.com/docs/apis/intro-apis/new-relic-api-keys/ (lengths observed)
    token("newrelic-user-key", "NRAK-", &[Run(UpperDigit, 27, 27)]),
    token("newrelic-insert-key", "NRII-", &[Run(Base64Url, 25, 32)]).check(Mixed(12)),
    token("newrelic-query-key", "NRIQ-", &[Run(Base64Url, 25, 32)]).check(Mixed(12)),
    token("newrelic-browser-key", "NRJS-", &[Run(HexLower, 19, 19)]).check(Mixed(7)),
    named("newrelic-license-key", &["new relic", "license key", "nr license", "api key"], &[Run(Alnum, 32, 32), Text("FFFFNRAL")]),
    // source: https://grafana.com/docs/grafana/latest/administration/service-accounts/ (parts observed)
    token("grafana-service-account-token", "glsa_", &[Run(Alnum, 32, 32), Text("_"), Run(HexLower, 8, 8)]),
    // source: https://grafana.com/docs/grafana-cloud/security-and-account-management/authentication-and-permissions/access-policies/
    token("grafana-cloud-token", "glc_eyJ", &[Run(Base64, 50, 500)]),
    // source: https://grafana.com/docs/grafana/latest/administration/service-accounts/migrate-api-keys/ (the base 64 of `{"k":"`)
    token("grafana-legacy-api-key", "eyJrIjoi", &[Run(Base64, 60, 400)]),
    // source: https://docs.sentry.io/account/auth-tokens/
    token("sentry-organization-token", "sntrys_eyJ", &[Run(Base64, 80, 500), Text("_"), Run(Base64, 43, 43)]),
    token("sentry-user-token", "sntryu_", HEX_LOWER_64),
    token("sentry-internal-integration-token", "sntryi_", HEX_LOWER_64),
    named("sentry-legacy-token", &["sentry auth token", "sentry token"], HEX_LOWER_64).check(Mixed(9)),
    // source: https://developer.pagerduty.com/docs/authentication
    token("pagerduty-api-token", "Token token=", &[Run(Base64Url, 20, 20)]).check(Mixed(9)),
    named("pagerduty-token", &["pagerduty token", "pagerduty api key", "pagerduty api token", "pd api key"], &[Run(Base64Url, 20, 20)])
        .check(Mixed(9)),
    named("pagerduty-routing-key", &["pagerduty routing key", "pagerduty integration key", "pagerduty service key"], &[Run(LowerDigit, 32, 32)])
        .check(Mixed(9)),
    // source: https://docs.opsgenie.com/docs/api-key-management
    token("opsgenie-header-key", "GenieKey ", UUID),
    token("opsgenie-api-key", "", UUID).near(&["opsgenie api key", "opsgenie key", "opsgenie token", "genie api key"]),
    // source: https://docs.honeycomb.io/api/authentication (a letter of the region is the prefix's third byte)
    token("honeycomb-ingest-key", "hc", &[Run(Lower, 1, 1), Text("ik_"), Run(LowerDigit, 58, 60)]),
    token("honeycomb-management-key", "hc", &[Run(Lower, 1, 1), Text("mk_"), Run(LowerDigit, 26, 26), Text(":"), Run(LowerDigit, 32, 32)]),
    named("honeycomb-configuration-key", &["honeycomb team", "honeycomb api key", "honeycomb key", "honeycomb write key"], &[Run(Alnum, 22, 32)])
        .check(Mixed(11)),
    // source: https://docs.dynatrace.com/docs/dynatrace-api/basics/dynatrace-api-authentication
    token("dynatrace-api-token", "dt0c01.", DYNATRACE_TAIL),
    token("dynatrace-platform-token", "dt0s16.", DYNATRACE_TAIL),
    token("dynatrace-oauth-secret", "dt0s02.", DYNATRACE_TAIL),
    // source: https://docs.splunk.com/Documentation/Splunk/latest/Data/UsetheHTTPEventCollector
    token("splunk-hec-header-token", "Splunk ", UUID),
    token("splunk-hec-token", "", UUID).near(&["splunk hec token", "splunk token", "hec token"]),
    // source: https://docs.splunk.com/observability/admin/authentication/authentication-tokens/org-tokens.html (length observed)
    named(
        "splunk-observability-token",
        &["splunk access token", "signalfx access token", "signalfx auth token", "sf token"],
        &[Run(Base64Url, 22, 22)],
    )
    .check(Mixed(12)),
    // source: https://help.sumologic.com/docs/manage/security/access-keys/ (length observed)
    named("sumologic-access-key", &["sumo logic access key", "sumo access key", "sumo logic key"], &[Run(Alnum, 64, 64)]).check(Mixed(20)),
    // source: https://www.loggly.com/docs/customer-token-authentication-token/
    token("loggly-token", "", UUID).near(&["loggly token", "loggly customer token"]),
    // source: https://axiom.co/docs/reference/tokens
    token("axiom-api-token", "xaat-", UUID),
    token("axiom-personal-token", "xapt-", UUID),
    // source: https://docs.rollbar.com/docs/access-tokens
    named("rollbar-access-token", &["rollbar access token", "rollbar token"], HEX_LOWER_32).check(Mixed(9)),
    // source: https://coralogix.com/docs/user-guides/account-management/api-keys/api-keys/ (prefixes observed)
    token("coralogix-team-key", "cxtp_", &[Run(Alnum, 30, 30)]).check(Mixed(12)),
    token("coralogix-user-key", "cxup_", &[Run(Alnum, 30, 30)]).check(Mixed(12)),
    // source: https://www.checklyhq.com/docs/cli/authentication/ (form observed)
    token("checkly-api-key", "cu_", HEX_LOWER_32).check(Mixed(9)),
    // source: https://uptimerobot.com/api/legacy/ (form observed)
    named("uptimerobot-api-key", &["uptime robot"], &[Run(LowerDigit, 8, 12), Text("-"), Run(HexLower, 24, 24)]),
    // source: https://docs.rootly.com/api-reference/overview (form observed)
    token("rootly-api-key", "rootly_", HEX_LOWER_64),
    // source: https://docs.firehydrant.com/docs/api-keys (prefix observed)
    token("firehydrant-token", "fhb-", HEX_LOWER_32).check(Mixed(9)),
    // source: https://docs.virustotal.com/reference/authentication
    named("virustotal-api-key", &["virustotal api key", "vt api key", "virustotal key"], HEX_LOWER_64).check(Mixed(9)),
    // source: https://developer.shodan.io/api (length observed)
    named("shodan-api-key", &["shodan api key", "shodan key"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://docs.abuseipdb.com/
    named("abuseipdb-api-key", &["abuseipdb"], &[Run(HexLower, 80, 80)]).check(Mixed(9)),
    // ---- Identity ----
    // source: https://developer.okta.com/docs/guides/create-an-api-token/main/ (length observed)
    token("okta-header-token", "SSWS 00", &[Run(Base64Url, 40, 40)]),
    token("okta-api-token", "00", &[Run(Base64Url, 40, 40)]).near(&["okta"]).check(Mixed(16)),
    // source: https://auth0.com/docs/get-started/applications/application-settings (length observed)
    named("auth0-client-secret", &["auth0 client secret", "auth0 secret"], &[Run(Base64Url, 64, 64)]).check(Mixed(16)),
    // source: https://stytch.com/docs/workspace-management/pwa/overview (form observed)
    token("stytch-secret", "secret-live-", &[Run(Base64Url, 32, 60)]).check(Mixed(14)),
    token("stytch-test-secret", "secret-test-", &[Run(Base64Url, 32, 60)]).check(Mixed(14)),
    // source: https://duo.com/docs/authapi (length observed)
    named("duo-secret-key", &["duo secret key", "duo skey", "duo secret"], &[Run(Alnum, 40, 40)]).check(Mixed(14)),
    // source: https://jumpcloud.com/support/understand-jumpcloud-api-keys (prefix observed)
    token("jumpcloud-api-key", "jca_", &[Run(Alnum, 36, 36)]),
    named("jumpcloud-legacy-api-key", &["jumpcloud api key", "jc api key"], HEX_LOWER_40).check(Mixed(9)),
    // source: https://developers.onelogin.com/api-docs/2/getting-started/working-with-api-credentials
    named("onelogin-client-secret", &["onelogin client secret", "onelogin secret"], HEX_LOWER_64).check(Mixed(9)),
    // source: https://www.ory.sh/docs/concepts/personal-access-token
    token("ory-personal-token", "ory_pat_", &[Run(Alnum, 32, 32)]),
    token("ory-access-token", "ory_at_", &[Run(Base64Url, 43, 43), Text("."), Run(Base64Url, 43, 43)]),
    token("ory-refresh-token", "ory_rt_", &[Run(Base64Url, 43, 43), Text("."), Run(Base64Url, 43, 43)]),
    // source: https://authress.io/knowledge-base/docs/authorization/service-clients (form observed)
    token("authress-service-client-key", "sc_", AUTHRESS_TAIL),
    // ---- Places, devices and automation ----
    // source: https://docs.mapbox.com/help/getting-started/access-tokens/
    token("mapbox-secret-token", "sk.eyJ", &[Run(Token, 60, 250)]),
    token("mapbox-temporary-token", "tk.eyJ", &[Run(Token, 60, 500)]),
    // source: https://www.here.com/docs/bundle/identity-and-access-management-developer-guide/page/topics/plat-using-apikeys.html (length observed)
    named("here-api-key", &["here api key", "here maps api key", "here access key secret"], &[Run(Base64Url, 43, 43)]).check(Mixed(16)),
    // source: https://developer.tomtom.com/platform/documentation/dashboard/api-key-management (length observed)
    named("tomtom-api-key", &["tomtom api key", "tomtom key"], &[Run(Alnum, 32, 32)]).check(Mixed(12)),
    // source: https://dev.maxmind.com/license-key-validation-regular-expression/
    named("maxmind-license-key", &["maxmind", "geoip", "license key"], &[Run(Word, 36, 36), Text("_mmk")]).check(Mixed(14)),
    // source: https://openweathermap.org/appid
    named("openweather-api-key", &["open weather"], HEX_LOWER_32).check(Mixed(9)),
    // source: https://io.adafruit.com/api/docs/#authentication
    token("adafruit-io-key", "aio_", &[Run(Alnum, 28, 28)]).check(Mixed(12)),
    // source: https://docs.ubidots.com/reference/authentication (form observed)
    token("ubidots-token", "BBFF-", &[Run(Alnum, 30, 30)]).check(Mixed(12)),
    // source: https://developer.cisco.com/meraki/api-v1/authorization/
    named("meraki-api-key", &["meraki api key", "meraki dashboard api key", "cisco meraki api key", "meraki key"], HEX_LOWER_40).check(Mixed(9)),
    // source: https://help.zapier.com/hc/en-us/articles/8496288690317
    token("zapier-webhook", "hooks.zapier.com/hooks/catch/", &[Run(Digit, 4, 12), Text("/"), Run(Alnum, 5, 12)]),
    // source: https://ifttt.com/maker_webhooks (form observed)
    token("ifttt-webhook-key", "/with/key/", &[Run(Base64Url, 20, 50)]).check(Mixed(11)),
    // source: https://www.tines.com/docs/actions/types/webhook/
    token("tines-webhook", ".tines.com/webhook/", &[Run(HexLower, 32, 32), Text("/"), Run(HexLower, 32, 32)]),
    // source: https://docs.n8n.io/api/authentication/ (form observed)
    token("n8n-api-key", "n8n_api_", &[Run(HexLower, 40, 160)]),
    // source: https://docs.retool.com/org-users/guides/retool-api/authentication (form observed)
    token("retool-api-token", "retool_01", &[Run(LowerDigit, 24, 24)]).check(Mixed(9)),
    // source: https://trigger.dev/docs/apikeys
    token("trigger-dev-production-key", "tr_prod_", &[Run(Alnum, 20, 24)]).check(Mixed(10)),
    token("trigger-dev-development-key", "tr_dev_", &[Run(Alnum, 20, 24)]).check(Mixed(10)),
    // source: https://www.inngest.com/docs/platform/signing-keys
    token("inngest-signing-key", "signkey-prod-", &[Run(HexLower, 32, 64)]),
    // source: https://liveblocks.io/docs/api-reference/rest-api-endpoints (length observed)
    token("liveblocks-secret-key", "sk_prod_", &[Run(Base64Url, 60, 70)]).check(Mixed(16)),
    token("liveblocks-development-secret-key", "sk_dev_", &[Run(Base64Url, 60, 70)]).check(Mixed(16)),
    // source: https://console.settlemint.com/documentation/ (form observed)
    token("settlemint-personal-token", "sm_pat_", &[Run(Alnum, 16, 16)]).check(Mixed(9)),
    // source: https://api.intra.42.fr/apidoc/guides/getting_started (form observed)
    token("intra42-client-secret", "s-s4t2ud-", HEX_LOWER_64),
    // ---- Not of one provider ----
    // source: RFC 3986 section 3.2.1. The match is the scheme and the user information up to and with `@`, so the host stays readable.
    token("postgres-url-password", "postgres://", URL_LOGIN).check(Entropy(5)),
    token("postgresql-url-password", "postgresql://", URL_LOGIN).check(Entropy(5)),
    token("mysql-url-password", "mysql://", URL_LOGIN).check(Entropy(5)),
    token("mariadb-url-password", "mariadb://", URL_LOGIN).check(Entropy(5)),
    token("sqlserver-url-password", "sqlserver://", URL_LOGIN).check(Entropy(5)),
    token("mongodb-url-password", "mongodb://", URL_LOGIN).check(Entropy(5)),
    token("mongodb-srv-url-password", "mongodb+srv://", URL_LOGIN).check(Entropy(5)),
    token("redis-url-password", "redis://", URL_LOGIN).check(Entropy(5)),
    token("rediss-url-password", "rediss://", URL_LOGIN).check(Entropy(5)),
    token("amqp-url-password", "amqp://", URL_LOGIN).check(Entropy(5)),
    token("amqps-url-password", "amqps://", URL_LOGIN).check(Entropy(5)),
    token("clickhouse-url-password", "clickhouse://", URL_LOGIN).check(Entropy(5)),
    token("nats-url-password", "nats://", URL_LOGIN).check(Entropy(5)),
    token("ftp-url-password", "ftp://", URL_LOGIN).check(Entropy(5)),
    token("sftp-url-password", "sftp://", URL_LOGIN).check(Entropy(5)),
    token("smtp-url-password", "smtp://", URL_LOGIN).check(Entropy(5)),
    token("smtps-url-password", "smtps://", URL_LOGIN).check(Entropy(5)),
    token("ldap-url-password", "ldap://", URL_LOGIN).check(Entropy(5)),
    token("ldaps-url-password", "ldaps://", URL_LOGIN).check(Entropy(5)),
    token("http-url-password", "http://", URL_LOGIN).check(Entropy(5)),
    token("https-url-password", "https://", URL_LOGIN).check(Entropy(5)),
    // source: RFC 7617 and RFC 6750 section 2.1. The scheme's name is a word of every day, hence the header's name before it.
    token("basic-authorization-header", "Basic ", &[Run(Base64, 12, 1000)]).near(&["authorization"]).check(Mixed(8)),
    token("basic-authorization-header-lower", "basic ", &[Run(Base64, 12, 1000)]).near(&["authorization"]).check(Mixed(8)),
    token("bearer-authorization-header", "Bearer ", &[Run(Bearer, 20, 3000)]).near(&["authorization"]).check(Mixed(10)),
    token("bearer-authorization-header-lower", "bearer ", &[Run(Bearer, 20, 3000)]).near(&["authorization"]).check(Mixed(10)),
    // source: https://learn.microsoft.com/en-us/dotnet/framework/data/adonet/connection-string-syntax
    // Only the `pwd=` of a connection string; in capitals it is a shell's working directory.
    token("connection-string-password", ";Pwd=", &[Secret, Run(Password, 6, 128)]).check(Mixed(5)),
    token("connection-string-password-lower", ";pwd=", &[Secret, Run(Password, 6, 128)]).check(Mixed(5)),
    // A value that is assigned to a name that says what it is. Observed: no provider's form. The prefix ends a name of any beginning
    // (`DB_PASSWORD`, `client_secret`); only what a program or a file spells in one word (`dbPassword`) is left to the hints.
    // Without a digit and a letter it is a word, and with brackets the expression of a program.
    token("generic-password", "password", PASSWORD_VALUE).check(Mixed(8)),
    token("generic-password-title", "Password", PASSWORD_VALUE).check(Mixed(8)),
    token("generic-password-upper", "PASSWORD", PASSWORD_VALUE).check(Mixed(8)),
    token("generic-passwd", "passwd", PASSWORD_VALUE).check(Mixed(8)),
    token("generic-passwd-upper", "PASSWD", PASSWORD_VALUE).check(Mixed(8)),
    token("generic-passphrase", "passphrase", PASSWORD_VALUE).check(Mixed(8)),
    token("generic-passphrase-title", "Passphrase", PASSWORD_VALUE).check(Mixed(8)),
    token("generic-passphrase-upper", "PASSPHRASE", PASSWORD_VALUE).check(Mixed(8)),
    token("generic-secret", "secret", SECRET_VALUE).check(Mixed(13)),
    token("generic-secret-title", "Secret", SECRET_VALUE).check(Mixed(13)),
    token("generic-secret-upper", "SECRET", SECRET_VALUE).check(Mixed(13)),
    token("generic-secret-key", "secret_key", SECRET_VALUE).check(Mixed(13)),
    token("generic-secret-key-camel", "secretKey", SECRET_VALUE).check(Mixed(13)),
    token("generic-secret-key-title", "SecretKey", SECRET_VALUE).check(Mixed(13)),
    token("generic-secret-key-upper", "SECRET_KEY", SECRET_VALUE).check(Mixed(13)),
    token("generic-secret-key-dashed", "secret-key", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-key", "api_key", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-key-camel", "apiKey", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-key-title", "ApiKey", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-key-upper", "API_KEY", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-key-joined", "apikey", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-key-dashed", "api-key", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-key-header", "Api-Key", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-key-header-upper", "API-Key", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-secret", "api_secret", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-secret-camel", "apiSecret", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-secret-upper", "API_SECRET", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-token", "api_token", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-token-camel", "apiToken", SECRET_VALUE).check(Mixed(13)),
    token("generic-api-token-upper", "API_TOKEN", SECRET_VALUE).check(Mixed(13)),
    token("generic-access-token", "access_token", SECRET_VALUE).check(Mixed(13)),
    token("generic-access-token-camel", "accessToken", SECRET_VALUE).check(Mixed(13)),
    token("generic-access-token-upper", "ACCESS_TOKEN", SECRET_VALUE).check(Mixed(13)),
    token("generic-auth-token", "auth_token", SECRET_VALUE).check(Mixed(13)),
    token("generic-auth-token-camel", "authToken", SECRET_VALUE).check(Mixed(13)),
    token("generic-auth-token-upper", "AUTH_TOKEN", SECRET_VALUE).check(Mixed(13)),
    token("generic-refresh-token", "refresh_token", SECRET_VALUE).check(Mixed(13)),
    token("generic-refresh-token-camel", "refreshToken", SECRET_VALUE).check(Mixed(13)),
    token("generic-refresh-token-upper", "REFRESH_TOKEN", SECRET_VALUE).check(Mixed(13)),
    token("generic-bearer-token", "bearer_token", SECRET_VALUE).check(Mixed(13)),
    token("generic-bearer-token-camel", "bearerToken", SECRET_VALUE).check(Mixed(13)),
    token("generic-bearer-token-upper", "BEARER_TOKEN", SECRET_VALUE).check(Mixed(13)),
    token("generic-access-key", "access_key", SECRET_VALUE).check(Mixed(13)),
    token("generic-access-key-camel", "accessKey", SECRET_VALUE).check(Mixed(13)),
    token("generic-access-key-upper", "ACCESS_KEY", SECRET_VALUE).check(Mixed(13)),
    token("generic-client-secret-camel", "clientSecret", SECRET_VALUE).check(Mixed(13)),
    token("generic-client-secret-title", "ClientSecret", SECRET_VALUE).check(Mixed(13)),
    token("generic-encryption-key", "encryption_key", SECRET_VALUE).check(Mixed(13)),
    token("generic-encryption-key-camel", "encryptionKey", SECRET_VALUE).check(Mixed(13)),
    token("generic-encryption-key-upper", "ENCRYPTION_KEY", SECRET_VALUE).check(Mixed(13)),
    token("generic-signing-key", "signing_key", SECRET_VALUE).check(Mixed(13)),
    token("generic-signing-key-camel", "signingKey", SECRET_VALUE).check(Mixed(13)),
    token("generic-signing-key-upper", "SIGNING_KEY", SECRET_VALUE).check(Mixed(13)),
];

/// A format whose prefix is enough.
const fn token(name: &'static str, prefix: &'static str, body: &'static [Piece]) -> Format {
    Format { name, prefix, body, near: &[], check: Check::None }
}

/// A format that says nothing without one of these words before it.
const fn named(name: &'static str, near: &'static [&'static str], body: &'static [Piece]) -> Format {
    Format { name, prefix: "", body, near, check: Check::None }
}

impl Format {
    const fn near(self, near: &'static [&'static str]) -> Self {
        Self { near, ..self }
    }

    const fn check(self, check: Check) -> Self {
        Self { check, ..self }
    }
}

const ALNUM_36: &[Piece] = &[Run(Alnum, 36, 36)];
const ALNUM_40_44: &[Piece] = &[Run(Alnum, 40, 44)];
const HEX_32: &[Piece] = &[Run(Hex, 32, 32)];
const HEX_LOWER_32: &[Piece] = &[Run(HexLower, 32, 32)];
const HEX_LOWER_40: &[Piece] = &[Run(HexLower, 40, 40)];
const HEX_LOWER_64: &[Piece] = &[Run(HexLower, 64, 64)];
const TOKEN_20: &[Piece] = &[Run(Token, 20, 320)];

const UUID: &[Piece] =
    &[Run(Hex, 8, 8), Text("-"), Run(Hex, 4, 4), Text("-"), Run(Hex, 4, 4), Text("-"), Run(Hex, 4, 4), Text("-"), Run(Hex, 12, 12)];

const AWS_ID: &[Piece] = &[Run(UpperDigit, 16, 16)];
const ANTHROPIC_TAIL: &[Piece] = &[Run(Digit, 2, 2), Text("-"), Run(Base64Url, 80, 120)];
const ATLASSIAN_TAIL: &[Piece] = &[Run(Base64Url, 150, 250), Text("="), Run(HexUpper, 8, 8)];
const AUTHRESS_TAIL: &[Piece] =
    &[Run(LowerDigit, 5, 30), Text("."), Run(LowerDigit, 4, 6), Text(".acc_"), Run(LowerDigit, 10, 32), Text("."), Run(Base64, 30, 120)];
const BITWARDEN_TAIL: &[Piece] = &[
    Run(HexLower, 8, 8),
    Text("-"),
    Run(HexLower, 4, 4),
    Text("-"),
    Run(HexLower, 4, 4),
    Text("-"),
    Run(HexLower, 4, 4),
    Text("-"),
    Run(HexLower, 12, 12),
    Text("."),
    Run(Alnum, 30, 30),
    Text(":"),
    Run(Base64, 24, 24),
];
const BRAINTREE_TAIL: &[Piece] = &[Run(LowerDigit, 16, 16), Text("$"), Run(HexLower, 32, 32)];
const BREVO_TAIL: &[Piece] = &[Run(HexLower, 64, 64), Text("-"), Run(Alnum, 16, 16)];
const CIRCLE_TAIL: &[Piece] = &[Run(Alnum, 20, 24), Text("_"), Run(HexLower, 40, 40)];
const CLOUDFLARE_TAIL: &[Piece] = &[Run(Alnum, 40, 40), Run(HexLower, 8, 8)];
const DISCORD_PATH: &[Piece] = &[Run(Digit, 17, 20), Text("/"), Run(Base64Url, 60, 72)];
const DYNATRACE_TAIL: &[Piece] = &[Run(UpperDigit, 24, 24), Text("."), Run(UpperDigit, 64, 64)];
const EBAY_TAIL: &[Piece] = &[
    Run(HexLower, 12, 12),
    Text("-"),
    Run(HexLower, 4, 4),
    Text("-"),
    Run(HexLower, 4, 4),
    Text("-"),
    Run(HexLower, 4, 4),
    Text("-"),
    Run(HexLower, 4, 4),
];
const ENTRA_SECRET: &[Piece] = &[Run(Bearer, 37, 40)];
const FLUTTERWAVE_TAIL: &[Piece] = &[Run(LowerDigit, 32, 32), Text("-X")];
const HARNESS_TAIL: &[Piece] = &[Run(Base64Url, 22, 22), Text("."), Run(Alnum, 24, 24), Text("."), Run(Alnum, 20, 20)];
const HUBSPOT_TAIL: &[Piece] = &[
    Run(Lower, 2, 2),
    Run(Digit, 1, 1),
    Text("-"),
    Run(Hex, 8, 8),
    Text("-"),
    Run(Hex, 4, 4),
    Text("-"),
    Run(Hex, 4, 4),
    Text("-"),
    Run(Hex, 4, 4),
    Text("-"),
    Run(Hex, 12, 12),
];
const JETBRAINS_TAIL: &[Piece] = &[Run(Base64, 8, 80), Text("."), Run(Base64, 2, 80), Text("."), Run(Alnum, 40, 60)];
const LANGSMITH_TAIL: &[Piece] = &[Run(HexLower, 32, 32), Text("_"), Run(HexLower, 10, 10)];
const MERCADO_TAIL: &[Piece] = &[Run(Digit, 13, 16), Text("-"), Run(Digit, 6, 6), Text("-"), Run(HexLower, 32, 32), Text("-"), Run(Digit, 6, 12)];
const ONE_PASSWORD_KEY: &[Piece] = &[
    Run(UpperDigit, 6, 6),
    Text("-"),
    Run(UpperDigit, 6, 6),
    Text("-"),
    Run(UpperDigit, 5, 5),
    Text("-"),
    Run(UpperDigit, 5, 5),
    Text("-"),
    Run(UpperDigit, 5, 5),
    Text("-"),
    Run(UpperDigit, 5, 5),
];
const PADDLE_TAIL: &[Piece] = &[Run(LowerDigit, 26, 26), Text("_"), Run(Alnum, 22, 22), Text("_"), Run(Alnum, 3, 3)];
const PLANETSCALE_TAIL: &[Piece] = &[Run(Token, 32, 64)];
const RAPIDAPI_KEY: &[Piece] =
    &[Run(LowerDigit, 10, 10), Text("msh"), Run(LowerDigit, 15, 15), Text("p1"), Run(LowerDigit, 6, 6), Text("jsn"), Run(LowerDigit, 12, 12)];
const SLACK_TRIGGER_PATH: &[Piece] = &[Run(UpperDigit, 8, 14), Text("/"), Run(Digit, 10, 20), Text("/"), Run(HexLower, 32, 32)];
const SLACK_USER_TAIL: &[Piece] = &[Run(Digit, 8, 14), Text("-"), Run(Digit, 8, 14), Text("-"), Run(Digit, 8, 14), Text("-"), Run(Alnum, 10, 64)];
const SLACK_WORKFLOW_PATH: &[Piece] =
    &[Run(UpperDigit, 8, 12), Text("/A"), Run(UpperDigit, 8, 12), Text("/"), Run(Digit, 17, 20), Text("/"), Run(Alnum, 23, 25)];
const STRIPE_TAIL: &[Piece] = &[Run(Alnum, 24, 247)];
const TEAMS_PATH: &[Piece] =
    &[Run(Base64Url, 36, 36), Text("@"), Run(Base64Url, 36, 36), Text("/IncomingWebhook/"), Run(HexLower, 32, 32), Text("/"), Run(Base64Url, 36, 36)];
const PASSWORD_VALUE: &[Piece] = &[Run(Blank, 0, 4), Run(Assign, 1, 2), Run(Blank, 0, 4), Secret, Run(Password, 6, 128)];
const SECRET_VALUE: &[Piece] = &[Run(Blank, 0, 4), Run(Assign, 1, 2), Run(Blank, 0, 4), Secret, Run(Bearer, 16, 512)];
const URL_LOGIN: &[Piece] = &[Run(Userinfo, 0, 64), Text(":"), Run(Userinfo, 4, 256), Text("@")];
const VERCEL_TAIL: &[Piece] = &[Run(Alnum, 20, 80)];
const WEBEX_TOKEN: &[Piece] = &[
    Run(Alnum, 64, 64),
    Text("_"),
    Run(Alnum, 4, 4),
    Text("_"),
    Run(HexLower, 8, 8),
    Text("-"),
    Run(HexLower, 4, 4),
    Text("-"),
    Run(HexLower, 4, 4),
    Text("-"),
    Run(HexLower, 4, 4),
    Text("-"),
    Run(HexLower, 12, 12),
];
const WIREGUARD_KEY: &[Piece] = &[Run(Base64, 44, 44)];

const DOCKER_WORDS: &[&str] = &["auths", "docker io", "dockercfg", "docker config", "ghcr io", "azurecr io", "quay io", "gcr io", "registry"];
const LAUNCHDARKLY_WORDS: &[&str] = &["launch darkly", "ld sdk key", "ld api key", "ld access token", "sdk key"];
const POSTMARK_WORDS: &[&str] = &["postmark server token", "postmark account token", "postmark api token", "postmark token", "postmark api key"];

#[cfg(test)]
pub(crate) mod tests;
