package supervisor

import (
	"slices"
	"strings"
)

// passedVariables are the variables that the listener, and so every step of every job, gets from
// the supervisor's environment. It lists what is allowed, because a list of secrets is never
// complete.
var passedVariables = []string{
	"PATH", "SHELL", "LANG", "LANGUAGE", "LC_ALL", "TZ",
	"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS",
	"DOCKER_HOST", "DOCKER_CONFIG", "JAVA_HOME", "ImageOS",
	"RUNNER_TOOL_CACHE", "AGENT_TOOLSDIRECTORY", "RUNNER_LOGSIZE", "WORKER_LOGSIZE",
	// Caches that jobs share, in volumes that are not emptied.
	"PLAYWRIGHT_BROWSERS_PATH", "PNPM_HOME", "npm_config_store_dir", "npm_config_cache", "pnpm_config_store_dir",
	"COREPACK_HOME", "COREPACK_ENABLE_DOWNLOAD_PROMPT", "XDG_CACHE_HOME",
	"ACTIONS_RUNNER_HOOK_JOB_STARTED", "ACTIONS_RUNNER_HOOK_JOB_COMPLETED",
	"GITHUB_ACTIONS_RUNNER_TRACE", "GITHUB_ACTIONS_RUNNER_HTTP_RETRY", "GITHUB_ACTIONS_RUNNER_HTTP_TIMEOUT",
	"GITHUB_ACTIONS_RUNNER_CHANNEL_TIMEOUT", "GITHUB_ACTIONS_RUNNER_EXTRA_USER_AGENT",
	"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "DOTNET_GCHeapHardLimit",
}

// jitVariable is read by the listener and removed from its environment (actions/runner
// CommandSettings.cs:110-140). A command line would be visible to every user in ps.
const jitVariable = "ACTIONS_RUNNER_INPUT_JITCONFIG"

func listenerEnviron(environ, more []string, home, jit string) []string {
	env := []string{
		"HOME=" + home,
		// Diagnostic lines on the console are the only sign of each failed poll.
		"ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT=1",
		// Exit code 7 instead of 1 for a deprecated runner (since 2.333, Program.cs:142-170).
		"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1",
		jitVariable + "=" + jit,
	}
	for _, kv := range environ {
		name, _, ok := strings.Cut(kv, "=")
		if ok && (slices.Contains(passedVariables, name) || slices.Contains(more, name)) && name != jitVariable {
			env = append(env, kv)
		}
	}
	return env
}
