package main

import (
	"os"
	"strings"
)

// Advice for WSL2, where Windows decides about sleep, DNS, disks and the life of the virtual
// machine.
//
// Sources: learn.microsoft.com/windows/wsl/wsl-config and /disk-space; microsoft/WSL#9667, #10006,
// #4699; docker/for-win#15044.
const (
	adviceAlive = `keep the virtual machine alive, which containers do not: in %UserProfile%\.wslconfig [general] instanceIdleTimeout=-1 and ` +
		`[wsl2] vmIdleTimeout=-1; with an older WSL leave a wsl.exe session open by the Task Scheduler, which also starts WSL after a boot`
	adviceOutside = "no program inside WSL2 can report that WSL2 is down: give the alert GhostrunnerWatchdog a receiver outside of this computer"
	adviceDesktop = "Docker Desktop stops an idle engine: switch off Resource Saver in its settings"
	adviceSleep   = "after Windows slept the clock of WSL2 can stay behind: update WSL (2.1.1 or newer), or run `wsl --shutdown` in Windows"
	adviceDaemons = "WSL2 runs its own chronyd, and a second daemon must not set the clock too (`systemctl disable --now systemd-timesyncd`, CLOCK_MODE=observe)"
	adviceTunnel  = `in %UserProfile%\.wslconfig [wsl2] dnsTunneling=true, above all with a VPN, and no generateResolvConf=false in /etc/wsl.conf`
	adviceUpdate  = "after a change of the VPN restart the containers: each keeps the name servers that it started with"
	adviceDrive   = "free space inside WSL2 says nothing about the Windows drive: mount a folder of the drive with the virtual disk (/mnt/c/…), read-only, and add it to DISK_PATHS"
	adviceVHDX    = "a prune does not shrink the virtual disk (VHDX): stop WSL, then run Optimize-VHD -Mode Full, or compact vdisk of diskpart"
)

// host is the kind of machine.
type host struct {
	wsl    bool
	kernel string
}

// hostOf recognizes WSL2 by the name of its kernel, which containers see too.
func hostOf(osrelease string) host {
	b, err := os.ReadFile(osrelease)
	if err != nil {
		return host{}
	}
	kernel := strings.TrimSpace(string(b))
	return host{wsl: strings.Contains(strings.ToLower(kernel), "microsoft"), kernel: kernel}
}

func (h host) findings() []finding {
	if !h.wsl {
		return nil
	}
	return []finding{note("host", "WSL2, kernel "+h.kernel, adviceAlive, adviceOutside)}
}

// remedies adds the advice to the remedy under WSL2.
func (h host) remedies(remedy string, advice ...string) []string {
	if !h.wsl {
		return []string{remedy}
	}
	return append([]string{remedy}, advice...)
}
