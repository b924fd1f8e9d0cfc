/*
 * commands.c - the table of rbd-csictl's commands.
 */
#include "ctl/commands.h"

#include "ctl/ctl.h"

#define AS_TABLE (CTL_FLAG(OUTPUT) | CTL_FLAG(JSON))
#define BENCH                                                                  \
	(CTL_FLAG(COUNT) | CTL_FLAG(CALLERS) | CTL_FLAG(BENCH_OUTPUT) |        \
	    CTL_FLAG(JSON) | CTL_FLAG(HTML))
#define BENCH_LOAD                                                             \
	(BENCH | CTL_FLAG(RATE) | CTL_FLAG(DURATION) | CTL_FLAG(WARM_UP) |     \
	    CTL_FLAG(RAMP) | CTL_FLAG(SWEEP))
#define BENCH_RUN                                                              \
	(CTL_FLAG(RUN) | CTL_FLAG(RUNS) | CTL_FLAG(CONTROLLER) |               \
	    CTL_FLAG(RETRY_FOR) | CTL_FLAG(CONNECT_PER_CALL))
#define BENCH_VOLUMES                                                          \
	(BENCH_RUN | CTL_FLAG(SIZE) | CTL_FLAG(PARAMETERS) | CTL_FLAG(DIR) |   \
	    CTL_FLAG(FSTYPE) | CTL_FLAG(NODE))
#define BENCH_ABOUT                                                                   \
	"What the driver does not serve is left out. What fails is counted by its\n"  \
	"code, is in no rate, and the others go on. In the end, and after Ctrl-C,\n"  \
	"what was made is taken away; a second Ctrl-C gives that up. `bench clean`\n" \
	"does it for a run that was killed. docs/BENCH.md tells what to quote."

const struct ctl_command ctl_commands[] = {
	{ .name = "ops",
	    .flags = AS_TABLE | CTL_FLAG(WATCH),
	    .what = "List what the driver does now",
	    .about =
		"Requests and the operations that they consist of, the newest first; then\n"
		"what ceph-workers do in the background. STATE is where it is and for how\n"
		"long; of a request that a ceph-worker runs, the worker's state.",
	    .examples = "ops\nops --watch\nops -o json",
	    .run = ctl_ops },
	{ .name = "volumes",
	    .flags = AS_TABLE,
	    .what = "List the volumes that are attached to this node",
	    .about =
		"Each with its image, its device and the mapper that made it, the layers\n"
		"above that, where it is mounted, and what was read and written since it\n"
		"was attached.",
	    .examples = "volumes\nvolumes -o json",
	    .run = ctl_volumes },
	{ .name = "sessions",
	    .flags = AS_TABLE,
	    .what = "List the sessions with Ceph clusters",
	    .about =
		"As whom, in which state and for how long, the pid and the age of its\n"
		"ceph-worker, how many lanes that has, how many calls it works on and how\n"
		"many wait for it.",
	    .examples = "sessions",
	    .run = ctl_sessions },
	{ .name = "trace",
	    .operands = "[SUBJECT]",
	    .most = 1,
	    .flags = AS_TABLE,
	    .what = "Show requests that have ended, state by state",
	    .about =
		"The newest first, each with the milliseconds that it spent in each of its\n"
		"states. SUBJECT is a volume ID, a name that was to be created, or a target\n"
		"path, as `ops` shows it. rbd-csid remembers 1024 requests.",
	    .examples = "trace\ntrace pvc-1f2e3d4c",
	    .run = ctl_trace },
	{ .name = "metrics",
	    .what = "Print the metrics, as Prometheus gets them",
	    .about =
		"By the driver's socket, whatever --metrics-address of rbd-csid is and\n"
		"speaks; without one nothing is counted.",
	    .examples = "metrics\nmetrics | grep requests_oldest",
	    .run = ctl_metrics },
	{ .name = "log-level",
	    .operands = "LEVEL",
	    .least = 1,
	    .most = 1,
	    .flags = AS_TABLE,
	    .what = "Set how much is logged from now on",
	    .about =
		"By rbd-csid and its helpers, until it is restarted: error, warn, info or\n"
		"debug. Prints what it was before.",
	    .examples = "log-level debug",
	    .run = ctl_log_level },
	{ .name = "abort",
	    .operands = "VOLUME_ID",
	    .least = 1,
	    .most = 1,
	    .flags = AS_TABLE,
	    .what = "End a stuck volume's I/O on this node",
	    .about =
		"All of it ends with an error, now and from now on, so that what is stuck\n"
		"in it can go on, an unmount for a start. WHAT IS NOT YET WRITTEN IS LOST.\n"
		"For volumes whose cluster does not answer; the volume can be staged again\n"
		"after it was unstaged.",
	    .examples =
		"abort 0001-0009-rook-ceph-0000000000000002-9a5d6f1c-3e0b-4a52-8a43-0f6d8b2f7c11",
	    .run = ctl_abort },
	{ .name = "audit",
	    .flags = AS_TABLE | CTL_FLAG(CLUSTER) | CTL_FLAG(POOL) |
		CTL_FLAG(REPAIR),
	    .needs = CTL_FLAG(CLUSTER) | CTL_FLAG(POOL),
	    .what = "Compare a pool's journal with its images",
	    .about =
		"And with its trash and its purge notes, as the instance and in the RADOS\n"
		"namespace that rbd-csid has for the cluster. What is being made or deleted\n"
		"at the moment shows, too. It ends with 1 if something is wrong, with 2 if\n"
		"that could not be found out.",
	    .examples =
		"--secrets admin.json audit --cluster rook-ceph --pool rbd\n"
		"--secrets admin.json audit --cluster rook-ceph --pool rbd --repair",
	    .run = ctl_audit },
	{ .name = "call",
	    .operands = "SERVICE/METHOD [JSON|@FILE|-]",
	    .least = 1,
	    .most = 2,
	    .what =
		"Call any RPC of the driver, with JSON in and out; Ctrl-C cancels it",
	    .more = ctl_call_methods,
	    .examples =
		"call Node/NodeGetInfo\n"
		"--secrets admin.json call Controller/CreateVolume @request.json\n"
		"call Health/Watch",
	    .run = ctl_call },
	{ .name = "preflight",
	    .flags = AS_TABLE | CTL_FLAG(CONFIG) | CTL_FLAG(KUBELET) |
		CTL_FLAG(CLUSTER) | CTL_FLAG(POOL) | CTL_FLAG(TRY),
	    .what = "Tell whether this machine and its clusters are ready",
	    .about =
		"Kernel, tools, limits, mount propagation, the driver, and whether each\n"
		"monitor of config.json can be reached; with --cluster, --pool and\n"
		"--secrets also whether that user can list that pool's volumes, which\n"
		"changes nothing, and with --try whether the user's caps let it make a\n"
		"volume and delete it. Each line is ok, or says what to do.",
	    .examples =
		"preflight\n"
		"--secrets admin.json preflight --cluster rook-ceph --pool rbd --try",
	    .run = ctl_preflight },
	{ .name = "support",
	    .operands = "ARCHIVE",
	    .least = 1,
	    .most = 1,
	    .flags = CTL_FLAG(CONFIG) | CTL_FLAG(KUBELET) | CTL_FLAG(LOG),
	    .what = "Put what helps to find a fault into one archive",
	    .about =
		"ARCHIVE.tar.gz gets the logs that --log names and those of the journal, the\n"
		"metrics, operations, volumes, sessions and the trace, config.json without\n"
		"what may be secret, versions, and how kernel and mounts are. What cannot\n"
		"be had is told in its file. Keys and passphrases are not read.",
	    .examples = "support /tmp/rbd-csi-node7\n"
			"support /tmp/node7 --log /var/log/rbd-csid.log",
	    .run = ctl_support },
	{ .name = "bench attach",
	    .flags = BENCH_VOLUMES | BENCH_LOAD,
	    .needs = CTL_FLAG(DIR),
	    .what = "Time stage and publish, there and back, twice",
	    .about =
		"All volumes go through one phase after the other; with --rate or --duration\n"
		"they come and go, each by itself.\n"
		"\n" BENCH_ABOUT,
	    .examples =
		"--secrets admin.json bench attach --parameters class.json --dir /mnt/bench --count 64 --callers 32\n"
		"--secrets admin.json bench attach --parameters class.json --dir /mnt/bench --rate 2 --duration 5m --html attach.html",
	    .run = ctl_bench },
	{ .name = "bench controller",
	    .flags = BENCH_VOLUMES | BENCH_LOAD,
	    .what = "Time all that the Controller service does with a volume",
	    .about =
		"Create, the same again, snapshot, restore (all of them from the first\n"
		"volume's snapshot), clone, expand, and the deletion of each. With --rate or\n"
		"--duration volumes come and go, each by itself.\n"
		"\n" BENCH_ABOUT,
	    .examples =
		"--secrets admin.json bench controller --parameters class.json --count 64 --callers 16\n"
		"--secrets admin.json bench controller --parameters class.json --sweep 1,4,16,64 -o csv",
	    .run = ctl_bench },
	{ .name = "bench volumes",
	    .flags = BENCH_VOLUMES | BENCH_LOAD,
	    .what = "Time CreateVolume, the same again, DeleteVolume",
	    .about = BENCH_ABOUT,
	    .examples =
		"--secrets admin.json bench volumes --parameters class.json --count 200 --callers 16",
	    .run = ctl_bench },
	{ .name = "bench calls",
	    .operands = "[JSON|@FILE|-]",
	    .most = 1,
	    .flags = BENCH_LOAD | CTL_FLAG(RPC) | CTL_FLAG(CONNECTIONS) |
		CTL_FLAG(CONNECT_PER_CALL),
	    .what = "Time one RPC, called over and over",
	    .about =
		"A closed loop: each caller calls again when it has its answer. With --rate\n"
		"an open one, whose figures show what a driver that stands still holds up.",
	    .examples =
		"bench calls --count 100000 --callers 16\n"
		"bench calls --rate 2000 --warm-up 5s --duration 30s\n"
		"bench calls --rpc NodeGetCapabilities --sweep 1,8,64 --duration 10s -o csv",
	    .run = ctl_bench },
	{ .name = "bench connections",
	    .flags = BENCH | CTL_FLAG(RPC),
	    .what =
		"Make a call on each connection, then hold them until a line on standard input",
	    .examples = "bench connections --count 500",
	    .run = ctl_bench },
	{ .name = "bench hold",
	    .flags = BENCH_VOLUMES | BENCH,
	    .needs = CTL_FLAG(DIR) | CTL_FLAG(RUN),
	    .what = "Attach volumes and leave them attached",
	    .examples =
		"--secrets admin.json bench hold --run many --parameters class.json --dir /mnt/bench --count 500",
	    .run = ctl_bench },
	{ .name = "bench release",
	    .flags = BENCH_RUN | CTL_FLAG(CALLERS) | CTL_FLAG(BENCH_OUTPUT) |
		CTL_FLAG(JSON) | CTL_FLAG(HTML),
	    .needs = CTL_FLAG(RUN),
	    .what = "Detach and delete what `bench hold` has left",
	    .examples = "--secrets admin.json bench release --run many",
	    .run = ctl_bench },
	{ .name = "bench clean",
	    .operands = "[RUN]",
	    .most = 1,
	    .flags = CTL_FLAG(RUNS) | CTL_FLAG(CONTROLLER) | CTL_FLAG(CALLERS),
	    .what = "Take away what runs have left that were killed",
	    .about =
		"All of this user's, apart from those that run, or that `bench hold` keeps;\n"
		"or the one that is named. At the socket that the run has used, unless\n"
		"--endpoint says otherwise.",
	    .examples = "--secrets admin.json bench clean\n"
			"--secrets admin.json bench clean 1f2e3d4c",
	    .run = ctl_bench },
	{ .name = "bench compare",
	    .operands = "A B",
	    .least = 2,
	    .most = 2,
	    .flags = CTL_FLAG(BENCH_OUTPUT) | CTL_FLAG(JSON),
	    .what = "Compare two results, with confidence intervals",
	    .about =
		"A and B are what `bench ... -o json` has printed. For each figure that both\n"
		"have: its value in each, B / A, and between which numbers that is with 95 %\n"
		"confidence (bootstrap). Which circumstances differ is told, too.",
	    .examples = "bench compare before.json after.json",
	    .run = ctl_bench_compare },
	{ .name = "completion",
	    .operands = "SHELL",
	    .least = 1,
	    .most = 1,
	    .what = "Print the completion for bash or zsh",
	    .examples = "completion bash >/etc/bash_completion.d/rbd-csictl",
	    .run = ctl_completion },
	{ .name = "help",
	    .operands = "[COMMAND]",
	    .most = 2,
	    .what = "Print what --help of a command does, or of all",
	    .examples = "help bench attach",
	    .run = ctl_help },
};

const size_t ctl_command_count = countof(ctl_commands);
