package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/blueguy23/ghostrunner/internal/github"
)

// GitHub is the content of the flags for GitHub.
type GitHub struct {
	APIURL      string
	TokenFile   string
	TokenEnv    string // GITHUB_PAT, no longer in the environment
	Owner, Repo string
}

// GitHubFlags adds the flags for GitHub to a command line, whose Parse fills the result. It removes
// the variable GITHUB_PAT from the environment; a token is never a flag.
func GitHubFlags(a *App) *GitHub {
	g := &GitHub{TokenEnv: TakeEnv("GITHUB_PAT")}
	a.Flag("github.api-url", "GitHub's REST API; for GitHub Enterprise Server https://HOST/api/v3.").
		Envar("GITHUB_API_URL").Default(github.DefaultAPIURL).StringVar(&g.APIURL)
	a.Flag("github.token-file", "File with the token, read on each use. Default: the variable GITHUB_PAT.").
		Envar("GITHUB_PAT_FILE").StringVar(&g.TokenFile)
	a.Flag("github.owner", "Owner of the repository, organization, or enterprises/NAME.").Envar("REPO_OWNER").StringVar(&g.Owner)
	a.Flag("github.repo", "Repository; empty: the whole organization or enterprise.").Envar("REPO_NAME").StringVar(&g.Repo)
	return g
}

// ScopesFlag adds the flag for scopes beside that of --github.owner and --github.repo. Parse fills
// the result.
func ScopesFlag(a *App) *[]github.Scope {
	s := &scopes{}
	a.Flag("github.scope", "Further scope of runners: OWNER/REPO, ORGANIZATION or enterprises/NAME. Repeatable, or separated by commas.").
		Envar("GITHUB_SCOPES").SetValue(s)
	return &s.list
}

// CheckScopes returns what is wrong with a list of scopes.
func CheckScopes(text string) error { return (&scopes{}).Set(text) }

// scopes is a kingpin.Value that grows with each use.
type scopes struct{ list []github.Scope }

func (s *scopes) String() string { return "" }

// IsCumulative makes the flag repeatable.
func (s *scopes) IsCumulative() bool { return true }

func (s *scopes) Set(text string) error {
	for _, item := range List(text) {
		scope, err := github.ParseScope(item)
		if err != nil {
			return err
		}
		s.list = github.Distinct(append(s.list, scope)...)
	}
	if len(s.list) > github.MaxScopes {
		return fmt.Errorf("want at most %d scopes", github.MaxScopes)
	}
	return nil
}

// Token returns a function that reads the token, or nil if none is configured. A file has
// precedence over the environment. Errors contain a remedy and nothing of the token.
func (g *GitHub) Token() func() (string, error) {
	secret := Secret("github.token-file", g.TokenFile, g.TokenEnv)
	if secret == nil {
		return nil
	}
	from := "GITHUB_PAT"
	if g.TokenFile != "" {
		from = "--github.token-file: " + g.TokenFile
	}
	return func() (string, error) {
		token, err := secret()
		if err != nil {
			return "", withRemedy(err)
		}
		if err := CheckToken(token); err != nil {
			return "", fmt.Errorf("%s %w", from, err)
		}
		return token, nil
	}
}

func withRemedy(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; write the token into a file of that name (GITHUB_PAT_FILE)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; let the user of this process read it, or run this as its owner", err)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%w; Docker makes a directory if the file to mount is missing: remove it, write the token into a file of that name, "+
			"and recreate the container", err)
	default:
		return err
	}
}

// placeholders are words of examples. They count only in a text that is shorter than any token.
var placeholders = []string{"your", "my", "here", "changeme", "change", "replace", "replaceme", "placeholder", "insert", "todo", "xxx", "redacted"}

// minToken is the length of GitHub's shortest tokens: 40 hexadecimal digits, or ghp_ and 36 more.
const minToken = 40

// CheckToken returns why a text cannot be a token of GitHub, and what to do. The error contains
// nothing of the text.
func CheckToken(s string) error {
	const paste = "; put a token from GitHub, Settings, Developer settings, in its place"
	placeholder := errors.New("is a placeholder, not a token" + paste)
	_, secret, _ := strings.Cut(s, "_")
	switch {
	case s == "":
		return errors.New("is empty" + paste)
	case strings.ContainsAny(s, " \t\r\n\"'"):
		return errors.New("contains white space or quotes: remove them; if .env has Windows line ends, convert it with dos2unix")
	case strings.ContainsAny(s, "<>${}*") || strings.Contains(s, "..."):
		return errors.New("contains a placeholder or an unset variable" + paste)
	case strings.Contains(s, "="):
		return errors.New("contains an assignment such as GITHUB_PAT=TOKEN: leave only the token")
	case len(secret) >= 8 && strings.Trim(secret, secret[:1]) == "": // ghp_xxxxxxxx
		return placeholder
	case len(s) >= minToken:
		return nil
	}
	for word := range strings.FieldsFuncSeq(strings.ToLower(s), func(r rune) bool { return r == '_' || r == '-' || r == '.' }) {
		if slices.Contains(placeholders, word) {
			return placeholder
		}
	}
	return nil
}

// Scope returns the scope of the flags: owner/repo, or the owner.
func (g *GitHub) Scope() (github.Scope, error) {
	return github.ParseScope(strings.TrimSuffix(g.Owner+"/"+g.Repo, "/"))
}
