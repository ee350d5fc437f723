package main

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const goodPAT = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"

// composeFolder makes the files that the service init sees: Docker's socket with group 105, and a
// PAT.
func composeFolder(t *testing.T, pat string) paths {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	at := paths{githubPAT: in("github_pat"), dockerSocket: in("docker.sock"), pat: in("pat"), webhookToken: in("webhook-token"), grafanaPass: in("grafana-password")}
	err := os.WriteFile(at.dockerSocket, nil, 0o600)
	if pat != "" {
		err = errors.Join(err, os.WriteFile(at.githubPAT, []byte(pat), 0o600))
	}
	if err := errors.Join(err, os.Chown(at.dockerSocket, 0, 105), os.Chmod(at.dockerSocket, 0o660)); err != nil {
		t.Fatal("this test makes a file of another group: run it as root: ", err)
	}
	return at
}

// setenv gives a process of init the environment that Compose gives it, with other values for some.
func setenv(t *testing.T, other map[string]string) {
	t.Helper()
	env := map[string]string{"REPO_OWNER": "acme", "REPO_NAME": "widgets", "DOCKER_GID": "105"}
	maps.Copy(env, other)
	for name, value := range env {
		t.Setenv(name, value)
	}
}

func TestEachWrongValueIsNamed(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"REPO_OWNER", "", "is empty; set it to the owner"},
		{"REPO_OWNER", "<owner>", "placeholder"},
		{"REPO_OWNER", "changeme", "placeholder"},
		{"REPO_OWNER", "your-org", "placeholder"},
		{"REPO_OWNER", "...", "placeholder"},
		{"REPO_OWNER", "acme\r", "dos2unix"},
		{"REPO_OWNER", " acme", "white space"},
		{"REPO_OWNER", `"acme"`, "quotes"},
		{"REPO_OWNER", "acme/widgets", "more than one name"},
		{"REPO_OWNER", "https://github.com/acme", "more than one name"},
		{"REPO_OWNER", "acme!", "not a name that GitHub allows"},
		{"REPO_NAME", "acme/widgets", "more than one name"},
		{"REPO_NAME", "<repo>", "placeholder"},
		{"REPO_NAME", "your-repo", "placeholder"},
		{"REPO_NAME", "widgets.git", "not a name that GitHub allows"},
		{"REPO_NAME", "widgets ", "white space"},
		{"REPO_NAME", "wid#gets", "not a name that GitHub allows"},
		{"DOCKER_GID", "1001", "belongs to group 105 and not to 1001; set DOCKER_GID=105"},
		{"DOCKER_GID", "docker", "set DOCKER_GID=105"},
		{"DOCKER_GID", "<gid>", "set DOCKER_GID=105"},
		{"DOCKER_GID", "105\r", "set DOCKER_GID=105"},
		{"DOCKER_GID", "-1", "set DOCKER_GID=105"},
		{"GITHUB_API_URL", "ftp://github.example.com", "https://api.github.com"},
		{"GITHUB_API_URL", "https://github.com", "web site"},
		{"GITHUB_HOST", "", "set it to the name of your GitHub server"},
		{"GITHUB_HOST", "https://github.example.com", "not the name of a server"},
		{"GITHUB_SCOPES", "a/b/c", "separate the names by commas"},
		{"DOCKERHUB_USERNAME", "", "is empty"},
		{"DOCKERHUB_TOKEN", "", "is empty"},
		{"RUNNER_CPUS", "0", "not a number greater than 0"},
		{"RUNNER_LABELS", ",", "not a list of 1 to 100 labels"},
		{"RUNNER_LABELS", "gpu big", "white space"},
		{"RUNNER_LABELS", "<labels>", "placeholder"},
		{"RUNNER_GROUP_ID", "default", "not a number from 1"},
		{"RUNNER_SUDO", "yes", "true or false"},
		{"SESSION_CONFLICT_WAIT", "30s", "not a number from 0 to 3600"},
		{"DNS_FALLBACK", "dns.google", "not an IP address"},
		{"CHRONY_ADDRESS", "http://chrony", "HOST:PORT"},
		{"CLOCK_MODE", "slew", "step or observe"},
		{"CLOCK_DRIFT_SECONDS", "2s", "not a number greater than 0"},
		{"NTP_SERVERS", "pool.ntp.org,http://time", "not the name of a server"},
		{"DISK_PATHS", "/var/lib/docker,mnt/c", "not an absolute path"},
		{"PRUNE_THRESHOLD_GB", "10GB", "not a number greater than 0"},
		{"PRUNE_KEEP", "(", "regular expression"},
		{"WATCHDOG_MAX_FIRES", "-5", "not a number greater than 0"},
		{"REMEDIATION_WINDOW", "Mo 10:00-12:00", "want Mon, Tue"},
		{"REMEDIATION_DRY_RUN", "maybe", "true or false"},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			setenv(t, map[string]string{c.name: c.value})
			at := composeFolder(t, goodPAT)
			var out, errs bytes.Buffer
			code := run([]string{"init"}, at, &out, &errs)
			heading, line, _ := strings.Cut(errs.String(), "\n")
			if code != 1 || heading != "ghostrunner-setup: wrong values in compose/.env:" ||
				!strings.HasPrefix(line, "  "+c.name+": ") || strings.Count(line, "\n") != 1 || !strings.Contains(line, c.want) {
				t.Errorf("exit %d, %q; want one line about %s with %q", code, &errs, c.name, c.want)
			}
			if _, err := os.Stat(at.pat); err == nil {
				t.Error("secrets are written although a value is wrong")
			}
		})
	}
}

func TestGoodValuesAreAccepted(t *testing.T) {
	for _, env := range []map[string]string{
		{},
		{"REPO_NAME": ""},
		{"REPO_OWNER": "your-travel", "REPO_NAME": "xx"}, // somebody may be called so
		{"REPO_OWNER": "enterprises/acme", "REPO_NAME": ""},
		{"GITHUB_API_URL": "https://github.example.com/api/v3", "GITHUB_HOST": "github.example.com:8443", "GITHUB_SCOPES": "acme, enterprises/acme"},
		{"DOCKERHUB_USERNAME": "octo", "DOCKERHUB_TOKEN": "given"},
		{"RUNNER_LABELS": "self-hosted, linux", "RUNNER_GROUP_ID": "7", "RUNNER_SUDO": "true", "DNS_FALLBACK": "none", "RUNNER_CPUS": "0.5"},
		{"CLOCK_MODE": "observe", "NTP_SERVERS": "0.pool.ntp.org, 192.0.2.1,2001:db8::1", "CHRONY_ADDRESS": "chrony:323"},
		{"REMEDIATION_WINDOW": "Mon-Fri 22:00-06:00 Europe/Berlin; Sat,Sun 00:00-24:00", "PRUNE_KEEP": "^(node|mongo):", "REMEDIATION_DRY_RUN": "1"},
		{"PRUNE_THRESHOLD_GB": "", "WATCHDOG_MAX_FIRES": "", "CLOCK_MODE": "", "PRUNE_KEEP": ""}, // the defaults
	} {
		t.Run("", func(t *testing.T) {
			setenv(t, env)
			var out, errs bytes.Buffer
			if code := run(nil, composeFolder(t, goodPAT+"\r\n"), &out, &errs); code != 0 || errs.Len() > 0 {
				t.Errorf("%v: exit %d, %s", env, code, &errs)
			}
		})
	}
}

// TestAllProblemsAtOnce includes a wrong PAT, of which nothing may be shown.
func TestAllProblemsAtOnce(t *testing.T) {
	setenv(t, map[string]string{"REPO_OWNER": "", "REPO_NAME": "a/b", "DOCKER_GID": "1", "CLOCK_MODE": "off"})
	for pat, want := range map[string]string{
		"": "is empty", "your-token-here": "placeholder", "ghp_xxxxxxxxxxxx": "placeholder", "<s3cret>": "placeholder",
		"'" + goodPAT + "'": "quotes", "GITHUB_PAT=" + goodPAT: "assignment",
	} {
		var out, errs bytes.Buffer
		code := run([]string{"init"}, composeFolder(t, pat), &out, &errs)
		var names []string
		for _, line := range strings.Split(strings.TrimSpace(errs.String()), "\n")[1:] {
			name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
			names = append(names, name)
		}
		if wrong := []string{"GITHUB_PAT", "REPO_OWNER", "CLOCK_MODE", "REPO_NAME", "DOCKER_GID"}; code != 1 || !slices.Equal(names, wrong) {
			t.Errorf("%q: exit %d, lines about %v; want %v", pat, code, names, wrong)
		}
		if !strings.Contains(errs.String(), want) || pat != "" && strings.Contains(errs.String(), pat) {
			t.Errorf("%q: %s; want %q and nothing of the token", pat, &errs, want)
		}
	}
}

func TestEnterpriseHasNoRepository(t *testing.T) {
	if err := checkRepo("enterprises/acme", "widgets"); err == nil || !strings.Contains(err.Error(), "enterprise") {
		t.Error(err)
	}
}

func TestDockerSocketMode(t *testing.T) {
	at := composeFolder(t, goodPAT)
	for mode, ok := range map[os.FileMode]bool{0o666: true, 0o660: false, 0o600: false} {
		if err := os.Chmod(at.dockerSocket, mode); err != nil {
			t.Fatal(err)
		}
		if err := checkDockerGID("1001", at.dockerSocket); (err == nil) != ok {
			t.Errorf("group 1001 and a socket with mode %o: %v", mode, err)
		}
	}
	if err := checkDockerGID("105", at.dockerSocket+"/none"); err == nil || !strings.Contains(err.Error(), "/none") {
		t.Errorf("no socket: %v", err)
	}
}

// TestSecrets wants a new PAT to replace the old one, and the other secrets to stay as they are.
func TestSecrets(t *testing.T) {
	setenv(t, nil)
	at := composeFolder(t, goodPAT)
	const second = "github_pat_0123456789abcdefghijklmnopqrstuvwxyz"
	made := map[string]string{}
	for _, pat := range []string{goodPAT, second} {
		if err := os.WriteFile(at.githubPAT, []byte(pat+"\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := run([]string{"init"}, at, &out, &errs); code != 0 {
			t.Fatalf("exit %d: %s", code, &errs)
		}
		for path, mode := range map[string]os.FileMode{at.pat: 0o400, at.webhookToken: 0o444, at.grafanaPass: 0o444} {
			text, err := os.ReadFile(path)
			info, statErr := os.Stat(path)
			if err := errors.Join(err, statErr); err != nil || info.Mode().Perm() != mode || len(text) < 40 {
				t.Fatalf("%s: %d bytes, %v", path, len(text), err)
			}
			switch got := string(text); {
			case path == at.pat && got != pat+"\n":
				t.Errorf("the PAT is %q, want %q", got, pat)
			case path != at.pat && made[path] != "" && got != made[path]:
				t.Errorf("%s is another one after the second start", path)
			default:
				made[path] = got
			}
			if strings.Contains(out.String(), strings.TrimSpace(string(text))) {
				t.Errorf("%s is printed", path)
			}
		}
	}
	if made[at.webhookToken] == made[at.grafanaPass] {
		t.Error("two secrets are the same")
	}
	var out, errs bytes.Buffer
	if code := run([]string{"token"}, at, &out, &errs); code != 0 || out.String() != made[at.webhookToken] {
		t.Errorf("token: exit %d, %q%s", code, &out, &errs)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(at.pat), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestEmptySecretIsMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhook-token")
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeSecret(path, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || len(text) < 40 {
		t.Errorf("%q, %v", text, err)
	}
}

func TestTokenBeforeTheFirstStart(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"token"}, composeFolder(t, goodPAT), &out, &errs); code != 1 || !strings.Contains(errs.String(), "docker compose up -d") {
		t.Errorf("exit %d, %s", code, &errs)
	}
}

// TestComposePassesEverySetting compares the table with what the Compose files pass to init.
func TestComposePassesEverySetting(t *testing.T) {
	passed := []string{"GITHUB_PAT"} // as a secret
	for _, file := range []string{"compose.yaml", "dockerhub.yaml", "ghes.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../compose", file))
		if err != nil {
			t.Fatal(err)
		}
		var content struct {
			Services map[string]struct{ Environment yaml.Node }
		}
		if err := yaml.Unmarshal(text, &content); err != nil {
			t.Fatal(err)
		}
		env := content.Services["init"].Environment.Content
		for i := 0; i < len(env); i += 2 {
			passed = append(passed, env[i].Value)
		}
	}
	checked := []string{"REPO_NAME", "DOCKER_GID"}
	for _, s := range settings {
		checked = append(checked, s.name)
	}
	slices.Sort(passed)
	slices.Sort(checked)
	if !slices.Equal(passed, checked) {
		t.Errorf("Compose passes %v\nchecked are    %v", passed, checked)
	}
}
