//! A browser, as `WebDriver` drives it: Debian's chromium through its chromedriver, without a window, with a profile of
//! its own. It remembers what the console said and which hosts were asked. Knows nothing about the pages.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::process::{eventually, free_address};
use super::{client, fresh_folder};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The name of an element's reference, by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Finds what makes a page hard to use for people who can't see or can't use a mouse. MPL-2.0, for tests only.
const AXE: &str = include_str!("../../axe/axe-4.14.1.min.js");

pub(crate) struct Chrome {
    driver: Child,
    session: String,
    client: reqwest::Client,
    profile: std::path::PathBuf,
}

impl Chrome {
    pub(crate) async fn start(has_javascript: bool) -> Self {
        let (address, profile) = (free_address(), fresh_folder());
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={}", address.port())).arg("--silent").env("HOME", &profile);
        // A group of its own, so that the browser goes with its driver.
        let driver = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let driver = driver.expect("chromedriver is installed: tests/run.sh does that");
        let mut chrome = Self { driver, session: format!("http://{address}/session"), client: client(), profile };
        eventually("chromedriver answers", PATIENCE, async || {
            let status = chrome.client.get(format!("http://{address}/status")).send().await.ok()?;
            status.status().is_success().then_some(())
        })
        .await;
        let folder = format!("--user-data-dir={}", chrome.profile.display());
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", &folder];
        let javascript = if has_javascript { 1 } else { 2 };
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {
                "args": args,
                "prefs": {
                    "profile.managed_default_content_settings.javascript": javascript,
                    "download.default_directory": chrome.downloads().display().to_string(),
                    "download.prompt_for_download": false,
                },
            },
        }}});
        let session = chrome.ask("", Some(wanted)).await.expect("a browser");
        let id = session["sessionId"].as_str().expect("a session has an id").to_owned();
        chrome.session = format!("{}/{id}", chrome.session);
        chrome.post("window/rect", json!({"width": 1280, "height": 1000})).await;
        chrome.post("timeouts", json!({"script": PATIENCE.as_millis()})).await;
        chrome
    }

    async fn ask(&self, path: &str, body: Option<Value>) -> Result<Value, String> {
        let url = if path.is_empty() { self.session.clone() } else { format!("{}/{path}", self.session) };
        let request = match body {
            Some(body) => self.client.post(url).body(body.to_string()),
            None => self.client.get(url),
        };
        let request = request.header("content-type", "application/json").timeout(PATIENCE);
        let text = request.send().await.expect("chromedriver answers").text().await.expect("a whole answer");
        let answer: Value = serde_json::from_str(&text).expect("an answer is JSON");
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{path}: {error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].clone()),
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(path, Some(body)).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn go(&self, url: &str) {
        self.post("url", json!({"url": url})).await;
    }

    pub(crate) async fn url(&self) -> String {
        self.ask("url", None).await.expect("a page").as_str().unwrap_or_default().to_owned()
    }

    async fn found(&self, xpath: &str) -> Option<String> {
        let found = self.ask("element", Some(json!({"using": "xpath", "value": xpath}))).await.ok()?;
        found[ELEMENT].as_str().map(str::to_owned)
    }

    /// Waits for an element, by its `XPath`.
    async fn element(&self, xpath: &str) -> String {
        eventually(xpath, PATIENCE, async || self.found(xpath).await).await
    }

    pub(crate) async fn has(&self, xpath: &str) -> bool {
        self.found(xpath).await.is_some()
    }

    /// Waits until the page shows a text.
    pub(crate) async fn sees(&self, text: &str) {
        eventually(&format!("the page shows {text}"), PATIENCE, async || {
            self.text().await.contains(text).then_some(())
        })
        .await;
    }

    /// All that can be read on the page.
    pub(crate) async fn text(&self) -> String {
        let Some(body) = self.found("//body").await else { return String::new() };
        let text = self.ask(&format!("element/{body}/text"), None).await;
        text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Does this with an element, whose path it is given. A page that is still about to be replaced takes its elements
    /// with it: then nothing was done, and it is done on the next page.
    async fn with(&self, xpath: &str, act: impl AsyncFn(String) -> Result<Value, String>) {
        eventually(xpath, PATIENCE, async || {
            let element = self.element(xpath).await;
            match act(format!("element/{element}")).await {
                Err(error) if error.contains("stale element reference") => None,
                done => Some(done),
            }
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) async fn click(&self, xpath: &str) {
        self.with(xpath, async |element| self.ask(&format!("{element}/click"), Some(json!({}))).await).await;
    }

    fn downloads(&self) -> std::path::PathBuf {
        self.profile.join("downloads")
    }

    /// Waits for a file that was downloaded under this name, and reads it.
    pub(crate) async fn downloaded(&self, name: &str) -> String {
        let path = self.downloads().join(name);
        eventually(&format!("{name} is downloaded"), PATIENCE, async || std::fs::read_to_string(&path).ok()).await
    }

    pub(crate) async fn press(&self, button: &str) {
        self.click(&format!("//button[normalize-space()='{button}']")).await;
    }

    /// Presses a button that leads to another page, or to this one anew, and waits to be there.
    pub(crate) async fn press_away(&self, button: &str) {
        let before = self.element("/html").await;
        self.press(button).await;
        eventually("another page is there", PATIENCE, async || {
            self.ask(&format!("element/{before}/name"), None).await.is_err().then_some(())
        })
        .await;
    }

    /// Types into the field with this label.
    pub(crate) async fn fill(&self, label: &str, text: &str) {
        let field = format!("//*[@id=//label[normalize-space()='{label}']/@for]");
        self.with(&field, async |element| {
            self.ask(&format!("{element}/clear"), Some(json!({}))).await?;
            self.ask(&format!("{element}/value"), Some(json!({"text": text}))).await
        })
        .await;
    }

    /// As somebody sees it who prefers `light` or `dark`, in a window of this width.
    pub(crate) async fn prefer(&self, scheme: &str, width: u64) {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.post("goog/cdp/execute", json!({"cmd": "Emulation.setEmulatedMedia", "params": media})).await;
        let screen = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.post("goog/cdp/execute", json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": screen})).await;
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({"script": script, "args": []})).await
    }

    /// What is wrong with the page for people with a screen reader or a keyboard, and whether it must be moved sideways.
    pub(crate) async fn faults(&self, what: &str) -> Vec<String> {
        self.post("execute/sync", json!({"script": format!("{AXE}; return 1"), "args": []})).await;
        let script = "const done = arguments[arguments.length - 1]; axe.run().then(found => done(found.violations.map(
            violation => violation.id + ': ' + violation.help + ' ' + violation.nodes.map(node => node.html).join(' '))),
            error => done(['' + error]))";
        let found = self.post("execute/async", json!({"script": script, "args": []})).await;
        let found = found.as_array().expect("a list of faults");
        let mut faults: Vec<String> = found.iter().map(|fault| format!("{what}: {fault}")).collect();
        if self.run("return document.documentElement.scrollWidth > innerWidth").await == json!(true) {
            faults.push(format!("{what}: wider than its window"));
        }
        faults
    }

    /// What the console said since it was last asked.
    pub(crate) async fn said(&self) -> Vec<String> {
        let said = self.post("se/log", json!({"type": "browser"})).await;
        said.as_array().expect("a list").iter().map(|line| line["message"].to_string()).collect()
    }

    /// The console has nothing to say, and no other host was asked for anything.
    pub(crate) async fn assert_quiet(&self, host: &str) {
        assert_eq!(self.said().await, Vec::<String>::new(), "the console");
        let log = self.post("se/log", json!({"type": "performance"})).await;
        let lines = log.as_array().into_iter().flatten().filter_map(|line| line["message"].as_str());
        let messages = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let sent = messages.filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
        let urls: Vec<String> = sent
            .map(|message| message["message"]["params"]["request"]["url"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert!(!urls.is_empty(), "nothing was asked for at all, so this proves nothing");
        for url in urls.iter().filter(|url| !url.starts_with("data:") && !url.starts_with("chrome")) {
            assert!(url.starts_with(host), "{url} is another host");
        }
    }

    /// Ends the browser.
    pub(crate) async fn end(self) {
        // A browser that does not answer any more goes with its driver.
        drop(self.client.delete(&self.session).timeout(Duration::from_secs(10)).send().await);
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        // All of these fail only when it has ended already.
        let group = format!("kill -KILL -- -{}", self.driver.id());
        drop(Command::new("sh").args(["-c", &group]).stderr(Stdio::null()).status());
        drop(self.driver.kill());
        drop(self.driver.wait());
        drop(std::fs::remove_dir_all(&self.profile));
    }
}
