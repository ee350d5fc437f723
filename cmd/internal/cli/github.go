package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/blueguy23/ghostrunner/internal/github"
)

// GitHub is what the flags and the environment say of GitHub.
type GitHub struct {
	APIURL      string
	TokenFile   string
	TokenEnv    string // GITHUB_PAT, no longer in the environment
	Owner, Repo string
}

// GitHubFlags adds the flags to a command line. The result is filled when that is parsed.
//
// A token in the variable GITHUB_PAT is taken over at once and removed from the environment. It is never a flag.
func GitHubFlags(a *App) *GitHub {
	g := &GitHub{TokenEnv: TakeEnv("GITHUB_PAT")}
	a.Flag("github.api-url", "GitHub's REST API; for GitHub Enterprise Server https://HOST/api/v3.").
		Envar("GITHUB_API_URL").Default(github.DefaultAPIURL).StringVar(&g.APIURL)
	a.Flag("github.token-file", "File with the token; read whenever it is used. Without it GITHUB_PAT is taken from the environment.").
		Envar("GITHUB_PAT_FILE").StringVar(&g.TokenFile)
	a.Flag("github.owner", "Owner of the repository, organisation, or enterprises/NAME.").Envar("REPO_OWNER").StringVar(&g.Owner)
	a.Flag("github.repo", "Repository; empty: the whole organisation or enterprise.").Envar("REPO_NAME").StringVar(&g.Repo)
	return g
}

// ScopesFlag adds the flag of a program that looks at more places than the one of --github.owner and --github.repo. The
// result is filled when the command line is parsed.
func ScopesFlag(a *App) *[]github.Scope {
	s := &scopes{}
	a.Flag("github.scope", "Another place to look for runners: OWNER/REPO, ORGANISATION or enterprises/NAME. Repeatable, or separated by commas.").
		Envar("GITHUB_SCOPES").SetValue(s)
	return &s.list
}

// scopes is a kingpin.Value that grows with each use.
type scopes struct{ list []github.Scope }

func (s *scopes) String() string { return "" }

// IsCumulative makes the flag repeatable.
func (s *scopes) IsCumulative() bool { return true }

func (s *scopes) Set(text string) error {
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		scope, err := github.ParseScope(item)
		if err != nil {
			return err
		}
		s.list = github.Distinct(append(s.list, scope)...)
	}
	if len(s.list) > github.MaxScopes {
		return fmt.Errorf("want at most %d places", github.MaxScopes)
	}
	return nil
}

// Token returns how to get the token, or nil if none is configured. A file wins over the environment. Its errors say what
// to do, and hold nothing of the content.
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
		if why := noToken(token); why != "" {
			return "", fmt.Errorf("%s %s", from, why)
		}
		return token, nil
	}
}

// withRemedy says what to do about a token file that cannot be read.
func withRemedy(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; write the token into a file of that name (GITHUB_PAT_FILE)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; let the user of this process read it, or run this as its owner", err)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%w; Docker makes a directory where a file to mount is missing: remove it, write the token into a file of that name, "+
			"create the container anew", err)
	default:
		return err
	}
}

// placeholders are what stands for a token in examples: a whole word of a text that is shorter than any token of GitHub.
var placeholders = []string{"your", "my", "here", "changeme", "change", "replace", "replaceme", "placeholder", "insert", "todo", "xxx", "redacted"}

// minToken is the length of the shortest tokens that GitHub has given out: 40 hexadecimal digits, or ghp_ and 36 more.
const minToken = 40

// noToken says why a text can be no token of GitHub, and what to do; empty: it may be one.
func noToken(s string) string {
	const paste = "; put a token from GitHub, Settings, Developer settings, in its place"
	_, secret, _ := strings.Cut(s, "_")
	switch {
	case strings.ContainsAny(s, " \t\r\n\"'"):
		return "has white space or quotes inside: remove them; if .env has Windows line ends, convert it with dos2unix"
	case strings.ContainsAny(s, "<>${}*") || strings.Contains(s, "..."):
		return "holds a placeholder or a variable that nobody replaced" + paste
	case strings.Contains(s, "="):
		return "holds an assignment such as GITHUB_PAT=TOKEN: leave nothing but the token"
	case len(secret) >= 8 && strings.Trim(secret, secret[:1]) == "": // ghp_xxxxxxxx
		return "holds a placeholder, not a token" + paste
	case len(s) >= minToken:
		return ""
	}
	for word := range strings.FieldsFuncSeq(strings.ToLower(s), func(r rune) bool { return r == '_' || r == '-' || r == '.' }) {
		if slices.Contains(placeholders, word) {
			return "holds a placeholder, not a token" + paste
		}
	}
	return ""
}

// Scope is where runners register: owner/repo, or the owner alone.
func (g *GitHub) Scope() (github.Scope, error) {
	return github.ParseScope(strings.TrimSuffix(g.Owner+"/"+g.Repo, "/"))
}

// CheckOwner says why REPO_OWNER can name nobody at GitHub, and what to do.
func (g *GitHub) CheckOwner() error {
	owner := strings.TrimPrefix(g.Owner, "enterprises/")
	if why := noName(owner); why != "" {
		return errors.New("REPO_OWNER " + why)
	}
	if _, err := github.ParseScope(g.Owner); err != nil {
		return errors.New("REPO_OWNER is no name that GitHub allows: set it to the owner of the repository, such as octo, or to an organisation")
	}
	return nil
}

// CheckRepo says why REPO_NAME, with an owner that is one, can name nothing at GitHub, and what to do.
func (g *GitHub) CheckRepo() error {
	if g.Repo == "" || g.CheckOwner() != nil {
		return nil
	}
	if why := noName(g.Repo); why != "" {
		return errors.New("REPO_NAME " + why)
	}
	if strings.HasSuffix(g.Repo, ".git") {
		return errors.New("REPO_NAME ends in .git, as an address does: leave that off")
	}
	if strings.HasPrefix(g.Owner, "enterprises/") {
		return errors.New("REPO_NAME names a repository, but REPO_OWNER an enterprise: leave REPO_NAME empty")
	}
	if _, err := g.Scope(); err != nil {
		return errors.New("REPO_NAME is no name that GitHub allows: set it to the repository, such as hello, or leave it empty for an organisation")
	}
	return nil
}

// noNames are what stands for a name in examples. Words that somebody may really be called are not among them.
var noNames = regexp.MustCompile(`(?i)^(change-?me|replace-?me|placeholder|todo|xxx+|repo[-_](owner|name)|your-(org|organi[sz]ation|owner|name|user|username|account|repo|repository|github-.*|repo-name|org-name))$`)

// noName says why a text can be no name at GitHub, and what to do; empty: it may be one.
func noName(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "is empty"
	case strings.ContainsAny(s, " \t\r\n\"'"):
		return "has white space or quotes in it: remove them; if .env has Windows line ends, convert it with dos2unix"
	case strings.ContainsAny(s, "<>${}*") || strings.Contains(s, "...") || noNames.MatchString(s):
		return "holds a placeholder or a variable that nobody replaced: put the name in its place"
	case strings.ContainsAny(s, "/:@"):
		return "holds more than one name: REPO_OWNER=octo and REPO_NAME=hello are what https://github.com/octo/hello is"
	default:
		return ""
	}
}
