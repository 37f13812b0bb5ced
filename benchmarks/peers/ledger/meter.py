"""One energy tool over a fake powercap tree, told what to do line by line on standard input.

Commands: `begin` and `end` of the measurement, `task-begin` and `task-end` of a part of it. Each is answered by a line
`ok` when the tool has returned; `end` is answered by a line of JSON with the joules the tool reports.
"""

import json
import os
import sys


class CodeCarbon:
    """CodeCarbon's CPU energy: its memory model is no answer to the question that the vectors ask."""

    def __init__(self, root):
        from codecarbon.core import cpu
        from codecarbon.external import hardware

        control = os.path.join(root, "intel-rapl")
        cpu._get_candidate_bases = lambda _directory: [control, root]

        class FakeTreeRapl(cpu.IntelRAPL):
            def __init__(self, rapl_dir=control, **options):
                super().__init__(rapl_dir=control, **options)

        hardware.IntelRAPL = FakeTreeRapl
        from codecarbon import OfflineEmissionsTracker

        self.tracker = OfflineEmissionsTracker(
            country_iso_code="FRA",
            measure_power_secs=0.5,
            save_to_file=False,
            log_level="critical",
            rapl_include_dram=True,
            allow_multiple_runs=True,
        )
        self.tasks = 0
        self.uses_tasks = False
        self.joules_of_tasks = 0.0

    def begin(self):
        self.tracker.start()

    def task_begin(self):
        self.uses_tasks = True
        self.tasks += 1
        self.tracker.start_task(f"task-{self.tasks}")

    def task_end(self):
        data = self.tracker.stop_task()
        self.joules_of_tasks += data.cpu_energy * 3.6e6

    def end(self):
        self.tracker.stop()
        data = self.tracker.final_emissions_data
        return {"joules": data.cpu_energy * 3.6e6, "tasks": self.joules_of_tasks}


class Zeus:
    """Zeus' RAPL reader: packages and their memory, added."""

    def __init__(self, root):
        from zeus.device.cpu import rapl

        rapl.RAPL_DIR = os.path.join(root, "intel-rapl")
        self.cpus = rapl.RAPLCPUs().cpus
        # The first reading starts the processes that watch for wraps.
        self.read()
        self.tasks = 0.0
        self.first = 0.0

    def read(self):
        total = 0.0
        for cpu in self.cpus:
            measured = cpu.get_total_energy_consumption()
            total += measured.cpu_mj + (measured.dram_mj or 0.0)
        return total / 1000.0

    def begin(self):
        self.first = self.read()

    def task_begin(self):
        self.task_first = self.read()

    def task_end(self):
        self.tasks += self.read() - self.task_first

    def end(self):
        return {"joules": self.read() - self.first, "tasks": self.tasks}


def main():
    # Libraries talk on standard output; the answers go to the real one.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    tool = {"codecarbon": CodeCarbon, "zeus": Zeus}[sys.argv[1]](sys.argv[2])
    answers.write("ok\n")
    for line in sys.stdin:
        command = line.strip()
        try:
            result = getattr(tool, command.replace("-", "_"))()
        except Exception as error:  # An error is an answer too.
            result = {"error": f"{type(error).__name__}: {error}"}
        answers.write((json.dumps(result) if result is not None else "ok") + "\n")
        if command == "end":
            break
    answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
