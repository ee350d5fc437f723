package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadSecret(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"plain", "s3cret", "s3cret"},
		{"Windows line end", "s3cret\r\n", "s3cret"},
		{"white space around", " \ts3cret\n\n", "s3cret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadSecret("x.file", file(t, c.content))
			if err != nil || got != c.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestReadSecretFails(t *testing.T) {
	if _, err := ReadSecret("x.file", file(t, "\n")); !errors.Is(err, ErrEmpty) || !strings.Contains(err.Error(), "--x.file") {
		t.Errorf("an empty file gives %v, want ErrEmpty with the flag's name", err)
	}
	if _, err := ReadSecret("x.file", filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--x.file") {
		t.Errorf("a missing file gives %v, want the flag's name", err)
	}
	for _, content := range []string{"two words", "GITHUB_PAT='s3cret'", "s3cret\nmore"} {
		if _, err := ReadSecret("x.file", file(t, content)); err == nil || !strings.Contains(err.Error(), "more than a token") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q gives %v, want that it is more than a token, without its content", content, err)
		}
	}
	if got, err := ReadSecret("x.file", file(t, strings.Repeat("x", 10*maxSecret))); err != nil || len(got) != maxSecret {
		t.Errorf("a huge file gives %d bytes, %v", len(got), err)
	}
}

func TestTokenLeavesTheEnvironment(t *testing.T) {
	t.Setenv("GITHUB_PAT", "from-env\r\n")
	a := New("program", "", io.Discard)
	g := GitHubFlags(a)
	if _, found := os.LookupEnv("GITHUB_PAT"); found {
		t.Error("GITHUB_PAT is still in the environment")
	}
	if _, _, err := a.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if got, err := g.Token()(); err != nil || got != "from-env" {
		t.Errorf("token %q, %v", got, err)
	}
	g.TokenFile = file(t, "from-file")
	if got, err := g.Token()(); err != nil || got != "from-file" {
		t.Errorf("with a file: token %q, %v", got, err)
	}
}

// The error for an unusable token file is one line with a remedy, without the content.
func TestUnusableTokenFile(t *testing.T) {
	directory := t.TempDir()
	forbidden := file(t, "ghp_s3cret")
	if err := os.Chmod(forbidden, 0); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ path, want string }{
		"missing":       {filepath.Join(directory, "none"), "write the token into a file of that name"},
		"directory":     {directory, "Docker makes a directory"},
		"empty":         {file(t, ""), "is empty: write the token into it"},
		"blank":         {file(t, " \r\n"), "is empty: write the token into it"},
		"two lines":     {file(t, "ghp_s3cret\r\nmore\r\n"), "leave only the token in it"},
		"quoted":        {file(t, "'ghp_s3cret'"), "leave only the token in it"},
		"PowerShell":    {file(t, "\xff\xfeg\x00h\x00p\x00_\x00s\x003\x00c\x00r\x00e\x00t\x00\r\x00\n\x00"), "save it as plain text"},
		"line of .env":  {file(t, "GITHUB_PAT=ghp_s3cret"), "leave only the token"},
		"variable":      {file(t, "${GITHUB_PAT_s3cret}"), "an unset variable"},
		"angle":         {file(t, "<s3cret>"), "an unset variable"},
		"dots":          {file(t, "ghp_s3cret..."), "an unset variable"},
		"xxx":           {file(t, "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), "is a placeholder"},
		"your token":    {file(t, "ghp_your_token_here"), "is a placeholder"},
		"YOUR-TOKEN":    {file(t, "YOUR-TOKEN"), "is a placeholder"},
		"of the manual": {file(t, "changeme\n"), "is a placeholder"},
	} {
		g := GitHub{TokenFile: tc.path}
		token, err := g.Token()()
		if err == nil {
			t.Errorf("%s: accepted: %q", name, token)
			continue
		}
		got := err.Error()
		if !strings.Contains(got, tc.want) || !strings.Contains(got, "--github.token-file") || !strings.Contains(got, tc.path) ||
			strings.Contains(got, "s3cret") || strings.Contains(got, "\n") {
			t.Errorf("%s: %s", name, got)
		}
	}
	// Root may read everything, so this case is constructed.
	if err := withRemedy(&os.PathError{Op: "open", Path: forbidden, Err: os.ErrPermission}); !strings.Contains(err.Error(), "let the user of this process read it") {
		t.Error(err)
	}
	for _, env := range []string{"${GITHUB_PAT}", "ghp_a\rb", "xxx"} {
		if _, err := (&GitHub{TokenEnv: env}).Token()(); err == nil || !strings.HasPrefix(err.Error(), "GITHUB_PAT ") {
			t.Errorf("GITHUB_PAT=%q: %v", env, err)
		}
	}
}

// Every form of GitHub's tokens is accepted.
func TestTokens(t *testing.T) {
	for _, token := range []string{
		"ghp_0123456789abcdefghijklmnopqrstuvwxyz", "gho_16C7e42F292c6912E7710c838347Ae178B4a", "ghs_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ",
		"github_pat_11AAAAAAA0abcdefghijkl_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW", "0123456789abcdef0123456789abcdef01234567",
		"v1.1f699f1069f60xxxYourHere", "eyJhbGciOiJSUzI1NiJ9.my-your-here.c2ln0123456789", "github_pat_of_the_lab", "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxIn0.c2ln-_x",
		"\ufeffghp_0123456789abcdefghijklmnopqrstuvwxyz\r\n",
	} {
		g := GitHub{TokenFile: file(t, token)}
		if got, err := g.Token()(); err != nil || got != strings.Trim(token, "\ufeff\r\n") {
			t.Errorf("%q: %q, %v", token, got, err)
		}
	}
}

func TestScopes(t *testing.T) {
	for _, tc := range []struct {
		env  string
		args []string
		want string // or what the error says
	}{
		{"", nil, "[]"},
		{"o/r, org,,O/R", nil, "[o/r org]"},
		{"o/r", []string{"--github.scope=enterprises/e", "--github.scope", "org,o/x"}, "[enterprises/e org o/x]"}, // a flag wins
		{"a/b/c", nil, `--github.scope="a/b/c" (or GITHUB_SCOPES): scope "a/b/c": want "owner/repo", "organization" or "enterprises/name"`},
		{"", []string{"--github.scope=https://github.com/o/r"}, `want "owner/repo"`},
		{"", []string{"--github.scope=" + strings.Repeat("o/r,", 99)}, "[o/r]"},
		{"", []string{"--github.scope=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,aa,bb,cc,dd,ee,ff,gg"}, "at most 32"},
	} {
		t.Setenv("GITHUB_SCOPES", tc.env)
		a := New("program", "", io.Discard)
		scopes := ScopesFlag(a)
		_, _, err := a.Parse(tc.args)
		got := fmt.Sprint(*scopes)
		if err != nil {
			got = err.Error()
		}
		if (err == nil) != strings.HasPrefix(tc.want, "[") || !strings.Contains(got, tc.want) || strings.Contains(got, "\n") {
			t.Errorf("GITHUB_SCOPES=%q %q: %s, want %s", tc.env, tc.args, got, tc.want)
		}
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	for _, c := range []struct {
		env, args, wants []string
	}{
		{nil, []string{"--nonsense"}, []string{"--nonsense", "program --help"}},
		{nil, []string{"--log.level=loud"}, []string{"--log.level", "PROGRAM_LOG_LEVEL", "loud"}},
		{[]string{"PROGRAM_LOG_FORMAT", "xml"}, nil, []string{"--log.format", "PROGRAM_LOG_FORMAT", "xml"}},
	} {
		if c.env != nil {
			t.Setenv(c.env[0], c.env[1])
		}
		_, done, err := New("program", "", io.Discard).Parse(c.args)
		if err == nil || done {
			t.Errorf("%v %v: accepted", c.env, c.args)
			continue
		}
		for _, want := range c.wants {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v %v: %q lacks %q, or is not one line", c.env, c.args, err, want)
			}
		}
	}
}

func TestHelpIsNotAnError(t *testing.T) {
	for _, arg := range []string{"--help", "--version", "-h"} {
		var out strings.Builder
		_, done, err := New("program", "Does things.", &out).Parse([]string{arg})
		if !done || err != nil || out.Len() == 0 {
			t.Errorf("%s: done %v, %v, printed %d bytes", arg, done, err, out.Len())
		}
	}
}

// file writes a secret.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTimeScale(t *testing.T) {
	for value, want := range map[string]float64{"": 1, "0.02": 0.02, "3": 3, "0": 0, "-1": 0, "NaN": 0, "Inf": 0, "fast": 0} {
		var scale float64
		a := New("program", "", io.Discard)
		TimeScale(a, &scale)
		var args []string
		if value != "" {
			args = append(args, "--time-scale="+value)
		}
		_, _, err := a.Parse(args)
		if ok := err == nil; ok != (want > 0) || ok && scale != want {
			t.Errorf("%q: %g, %v", value, scale, err)
		}
		if err != nil && !strings.Contains(err.Error(), "--time-scale=") {
			t.Errorf("%q: %v", value, err)
		}
	}
}
