// Package docs_test compares the documents with the code: tables, links and file names. Package
// e2e/newcomer runs every command of the documents on a running stack.
package docs_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated parts of the documents; `make generate` does")

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// generated compares the part of a page between two comments with what is wanted, or writes it.
func generated(t *testing.T, page, name, want string) {
	t.Helper()
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->"
	text := read(t, page)
	before, rest, begun := strings.Cut(text, begin)
	got, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		t.Fatalf("%s: no lines %q and %q", page, strings.TrimSpace(begin), end)
	}
	if got == want {
		return
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is out of date; run `make generate`\n%s", page, cmp.Diff(strings.Split(got, "\n"), strings.Split(want, "\n")))
}

// tracked returns the paths of all files that are or will be in the repository, from its root.
func tracked(t *testing.T) (files []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", "..", "ls-files", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		if _, err := os.Stat(filepath.Join("..", file)); err == nil { // git also lists what was deleted and not committed
			files = append(files, file)
		}
	}
	return files
}

// pages returns the paths of all documents, from this folder.
func pages(t *testing.T) (all []string) {
	t.Helper()
	for _, file := range tracked(t) {
		if strings.HasSuffix(file, ".md") {
			all = append(all, filepath.Join("..", file))
		}
	}
	if len(all) < 2 {
		t.Fatalf("documents found: %v", all)
	}
	return all
}

var (
	code  = regexp.MustCompile("(?ms)^ *```.*?^ *```$|`[^`\n]*`")
	link  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	title = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

// anchors returns the names that GitHub gives to the headings of a page.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range title.FindAllStringSubmatch(regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, ""), -1) {
		name := strings.ToLower(strings.ReplaceAll(m[1], "`", ""))
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(name, "")
		all[strings.ReplaceAll(name, " ", "-")] = true
	}
	return all
}

func TestLinksResolve(t *testing.T) {
	for _, page := range pages(t) {
		text := read(t, page)
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			if regexp.MustCompile(`^[a-z]+:`).MatchString(m[1]) {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !anchors(read(t, target))[anchor] {
				t.Errorf("%s: %s: no such heading", page, m[1])
			}
		}
	}
}

func TestEveryPageIsLinked(t *testing.T) {
	linked := map[string]bool{}
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			path, _, _ := strings.Cut(m[1], "#")
			linked[filepath.Join(filepath.Dir(page), path)] = true
		}
	}
	for _, page := range pages(t) {
		if !linked[page] && page != "../README.md" {
			t.Errorf("no page links %s", page)
		}
	}
}

func TestReadmeIsShort(t *testing.T) {
	if words := len(strings.Fields(read(t, "../README.md"))); words > 1300 {
		t.Errorf("README.md has %d words, at most 1300: move reference material to docs/", words)
	}
}

// A block needs a language, because e2e/newcomer runs the blocks of language sh.
func TestCodeBlocksNameTheirLanguage(t *testing.T) {
	known := []string{"sh", "yaml", "ini", "text", "powershell", "promql", "json"}
	for _, page := range pages(t) {
		open := false
		for line := range strings.Lines(read(t, page)) {
			language, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
			if !isFence {
				continue
			}
			if open = !open; open && !slices.Contains(known, language) {
				t.Errorf("%s: a code block has the language %q, want one of %v", page, language, known)
			}
		}
	}
}
