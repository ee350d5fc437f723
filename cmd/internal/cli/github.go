package cli

import (
	"strings"

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

// Token returns how to get the token, or nil if none is configured. A file wins over the environment.
func (g *GitHub) Token() func() (string, error) {
	return Secret("github.token-file", g.TokenFile, g.TokenEnv)
}

// Scope is where runners register: owner/repo, or the owner alone.
func (g *GitHub) Scope() (github.Scope, error) {
	return github.ParseScope(strings.TrimSuffix(g.Owner+"/"+g.Repo, "/"))
}
