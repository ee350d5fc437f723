package docs_test

import (
	"go/scanner"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// elsewhere are files that comments and documents name although they are not in this repository.
var elsewhere = []string{
	"compose/.env", "compose/compose.override.yaml", "payload.json", "healer.sh", // made by users
	"run.sh", "run-helper.sh", "config.sh", // of the Actions runner
	"runner_graceful_stop.go", // of actions-runner-controller
}

var (
	// fileName matches what may be the name of a file, with or without its folder.
	fileName = regexp.MustCompile(`[\w./*-]+`)
	address  = regexp.MustCompile(`https?://\S+`)
	// checked are the extensions of names without a folder. A name in a folder that is not ours is
	// one of another project's.
	checked = regexp.MustCompile(`\.(go|md|ya?ml|sh|json|tmpl|prom|html|css|hcl)$`)
	comment = regexp.MustCompile(`(?:^|\s)#(.*)$`)
	// hashComments are the files whose comments begin with "#".
	hashComments = regexp.MustCompile(`\.(ya?ml|sh|hcl)$|/(Makefile|run|fuzz|dist|\.env\.example|Dockerfile[^/]*)$`)
)

// TestNamedFilesExist: every file that a comment or a document names is in this repository.
func TestNamedFilesExist(t *testing.T) {
	known := knownFiles(t)
	for _, file := range tracked(t) {
		for _, text := range prose(t, file) {
			for _, name := range missingFiles(file, text, known) {
				t.Errorf("%s names %s, which does not exist: %q", file, name, strings.TrimSpace(text))
			}
		}
	}
}

// TestNamedTargetsExist: every make target that a comment or a document names is in the Makefile.
func TestNamedTargetsExist(t *testing.T) {
	makefile := read(t, "../Makefile")
	for _, file := range tracked(t) {
		for _, text := range prose(t, file) {
			for _, m := range regexp.MustCompile("`make ([a-z][a-z-]*)").FindAllStringSubmatch(text, -1) {
				if !strings.Contains(makefile, "\n"+m[1]+":") {
					t.Errorf("%s names make %s, which does not exist", file, m[1])
				}
			}
		}
	}
}

func TestMissingFilesAreFound(t *testing.T) {
	known := knownFiles(t)
	for text, want := range map[string]string{
		"see docs_test.go, docs/docs_test.go and [this](../README.md).": "",
		"see docs/*_test.go (or internal/) and compose/.env":            "",
		"see https://example.org/docs/nothing.md":                       "",
		"see nothing_test.go":                                           "nothing_test.go",
		"see docs/nothing":                                              "docs/nothing",
		"see (../docs/nothing.md), rules/*.go2":                         "docs/nothing.md rules/*.go2",
	} {
		if got := strings.Join(missingFiles("docs/faq.md", text, known), " "); got != want {
			t.Errorf("%q: found %q, want %q", text, got, want)
		}
	}
}

// knownFiles holds the paths of all files and folders, and the names of all files without their
// folder.
func knownFiles(t *testing.T) map[string]bool {
	known := map[string]bool{}
	for _, file := range tracked(t) {
		known[path.Base(file)] = true
		for ; file != "."; file = path.Dir(file) {
			known[file] = true
		}
	}
	return known
}

// missingFiles returns the names in a text of a file that are not known.
func missingFiles(file, text string, known map[string]bool) (missing []string) {
	for _, name := range fileName.FindAllString(address.ReplaceAllString(text, ""), -1) {
		name = strings.TrimRight(name, "./-")
		for strings.HasPrefix(name, "../") {
			name = name[len("../"):]
		}
		folder, _, hasFolder := strings.Cut(name, "/")
		switch {
		case slices.Contains(elsewhere, name):
		case hasFolder && known[folder]:
			if !exists(name, known) && !exists(path.Join(path.Dir(file), name), known) {
				missing = append(missing, name)
			}
		case !hasFolder && checked.MatchString(name) && !exists(name, known):
			missing = append(missing, name)
		}
	}
	return missing
}

// exists reports whether a name, which may be a pattern, is known.
func exists(name string, known map[string]bool) bool {
	if !strings.Contains(name, "*") {
		return known[name]
	}
	for one := range known {
		if matched, err := path.Match(name, one); matched || err != nil {
			return err == nil
		}
	}
	return false
}

// prose returns what a file says to people: its comments, or all of a document.
func prose(t *testing.T, file string) (lines []string) {
	t.Helper()
	switch {
	case strings.Contains(file, "testdata/"):
	case strings.HasSuffix(file, ".md"):
		return strings.Split(read(t, filepath.Join("..", file)), "\n")
	case strings.HasSuffix(file, ".go"):
		text := []byte(read(t, filepath.Join("..", file)))
		var s scanner.Scanner
		s.Init(token.NewFileSet().AddFile(file, -1, len(text)), text, nil, scanner.ScanComments)
		for _, kind, literal := s.Scan(); kind != token.EOF; _, kind, literal = s.Scan() {
			if kind == token.COMMENT {
				lines = append(lines, strings.TrimLeft(literal, "/* \t"))
			}
		}
	case hashComments.MatchString("/" + file):
		for line := range strings.Lines(read(t, filepath.Join("..", file))) {
			if m := comment.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				lines = append(lines, m[1])
			}
		}
	}
	return lines
}
