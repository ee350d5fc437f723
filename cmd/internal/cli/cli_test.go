package cli

import (
	"errors"
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

func TestHelpIsNoError(t *testing.T) {
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
