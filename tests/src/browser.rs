//! A real browser, without a window: Chromium, driven through WebDriver (<https://www.w3.org/TR/webdriver2/>).

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::{
    clients::Running,
    issuer::{ask, json_of},
    postgres::PATIENCE,
};

/// The member of an element's reference that holds its id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser with one page. It ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    _driver: Running,
    _profile: TempDir,
    session: String,
}

impl Browser {
    /// Opens one with no cookies.
    ///
    /// # Errors
    /// It does not start.
    pub fn open() -> Result<Self> {
        let (chromium, driver) = (xtask::install::chromium(), xtask::install::chromedriver());
        let (chromium, driver) = (chromium.map_err(|error| anyhow!(error))?, driver.map_err(|error| anyhow!(error))?);
        let profile = tempfile::tempdir()?;
        let start = || -> Result<_> {
            let mut command = Command::new(&driver);
            command.arg("--port=0").env("HOME", profile.path()).env("XDG_CONFIG_HOME", profile.path());
            let mut running = Running::start(command)?;
            let line = running.wait_for("started successfully on port", PATIENCE)?;
            Ok((running, line))
        };
        // The port that the system chose for one family may be somebody's in the other; then it ends.
        let (running, line) = start().or_else(|_| start()).or_else(|_| start())?;
        let port: u16 = line.trim_end_matches('.').rsplit(' ').next().context("no port")?.parse()?;
        let home = format!("http://127.0.0.1:{port}/session");
        let user = format!("--user-data-dir={}", profile.path().join("profile").display());
        // As root, and on a machine without a display or much shared memory.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", &user];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": chromium, "args": arguments }, "acceptInsecureCerts": true,
        } } });
        let made = json_of(&ask("POST", &home.parse()?, &[("Content-Type", "application/json")], &wanted.to_string())?)?;
        let id = made.pointer("/value/sessionId").and_then(Value::as_str).context("no session")?;
        Ok(Self { session: format!("{home}/{id}"), _driver: running, _profile: profile })
    }

    /// Goes to a page.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn go(&self, url: &str) -> Result<()> {
        self.call("POST", "/url", &json!({ "url": url })).map(drop)
    }

    /// Types into the field that a CSS selector finds.
    ///
    /// # Errors
    /// There is none, in time.
    pub fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.find(selector)?;
        self.call("POST", &format!("/element/{element}/value"), &json!({ "text": text })).map(drop)
    }

    /// Clicks what a CSS selector finds.
    ///
    /// # Errors
    /// There is nothing, in time.
    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.find(selector)?;
        self.call("POST", &format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Waits until the page's text holds this, and returns the whole of it.
    ///
    /// # Errors
    /// It does not, in time.
    pub fn wait_for(&self, text: &str) -> Result<String> {
        let read = || {
            let answer = self.call("POST", "/execute/sync", &json!({ "script": "return document.body.innerText", "args": [] })).ok()?;
            answer.get("value").and_then(Value::as_str).map(str::to_owned)
        };
        let end = Instant::now() + PATIENCE;
        loop {
            let page = read();
            match page {
                Some(page) if page.contains(text) => return Ok(page),
                page if Instant::now() > end => bail!("the page never said {text:?}: {page:?}"),
                _ => thread::park_timeout(Duration::from_millis(50)),
            }
        }
    }

    fn find(&self, selector: &str) -> Result<String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let end = Instant::now() + PATIENCE;
        loop {
            match self.call("POST", "/element", &wanted) {
                Ok(found) => {
                    let id = found.pointer(&format!("/value/{ELEMENT}")).and_then(Value::as_str);
                    return id.map(str::to_owned).context("no element");
                }
                Err(error) if Instant::now() > end => return Err(error.context(format!("nothing on the page is {selector}"))),
                Err(_) => thread::park_timeout(Duration::from_millis(50)),
            }
        }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let url: Url = format!("{}{path}", self.session).parse()?;
        json_of(&ask(method, &url, &[("Content-Type", "application/json")], &body.to_string())?)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.call("DELETE", "", &json!({}));
    }
}
