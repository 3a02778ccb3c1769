"""Skills: what is declared, what is loaded, what can't be reached."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, ConfigurationError, Limits, Run, ToolDefinitionError, tool
from agentkit.skills import Skills
from agentkit.skills.format import body_of, front_matter
from agentkit.testing import ScriptedModel, call

PDF = """---
name: pdf
description: Fill in PDF forms. Use it when the user mentions a form.
license: Apache-2.0
metadata:
  author: somebody
  version: "1.0"
---

# PDF forms

Read references/forms.md first.
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def write(folder: Path, text: str = PDF, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SKILL.md").write_text(text)
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_md", ".md").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def run(skills: Skills, *turns: Any, **options: Any) -> Run:
    return Agent(ScriptedModel([*turns, "done"]), tools=[skills], **options).run("Go.")


def outputs(made: Run) -> list[Any]:
    parts = [
        part["functionResponse"]["response"]
        for c in made.contents
        for part in c["parts"]
        if "functionResponse" in part
    ]
    return [part.get("output", part.get("error")) for part in parts]


def test_names_and_descriptions_are_declared_and_a_text_comes_as_a_response(project: Path) -> None:
    write(project / "skills" / "pdf", references__forms_md="Field by field.")
    write(project / "skills" / "tea", "---\nname: tea\ndescription: Make tea.\n---\nBoil water.")
    model = ScriptedModel([[call("load_skill", name="pdf")], [call("load_skill", name="tea")], "done"])
    made = Agent(model, tools=[Skills("skills")]).run("Go.")
    first, second = outputs(made)
    assert first["instructions"] == "# PDF forms\n\nRead references/forms.md first."
    assert first["files"] == ["references/forms.md"]
    assert second == {"skill": "tea", "instructions": "Boil water."}
    declared = [json.dumps(request["tools"]) for request in model.requests]
    assert len(set(declared)) == 1  # the beginning of the request stays as it is
    assert (
        "- pdf: Fill in PDF forms. Use it when the user mentions a form."
        in model.requests[0]["tools"][0]["functionDeclarations"][0]["description"]
    )
    assert "Boil water" not in declared[0]


def test_a_file_of_a_skill_is_read_page_by_page(project: Path) -> None:
    write(project / "pdf", references__forms_md="one\ntwo\nthree\n")
    calls = [call("read_skill_file", skill="pdf", path="references/forms.md", offset=2, limit=1)]
    (page,) = outputs(run(Skills("pdf"), calls))
    assert page == {"lines": "2 to 2 of 3", "note": "There is more: read on with offset=3.", "text": "two"}


@pytest.mark.parametrize(
    "path", ["../secret.txt", "/etc/passwd", "link.txt", ".env", "linked/secret.txt", "~/x", ""]
)
def test_nothing_outside_of_the_folder_is_read(project: Path, path: str) -> None:
    folder = write(project / "pdf")
    (project / "secret.txt").write_text("the secret")
    (folder / ".env").write_text("the secret")
    (folder / "link.txt").symlink_to(project / "secret.txt")
    (folder / "linked").symlink_to(project)
    made = run(
        Skills("pdf"), [call("load_skill", name="pdf")], [call("read_skill_file", skill="pdf", path=path)]
    )
    assert "the secret" not in json.dumps(made.contents)
    assert "secret.txt" not in json.dumps(outputs(made)[0])


def test_a_skill_that_is_not_there_is_said_with_those_that_are(project: Path) -> None:
    write(project / "pdf")
    made = run(
        Skills("pdf"), [call("load_skill", name="doc"), call("read_skill_file", skill="doc", path="x")]
    )
    assert all("There is no skill 'doc'. The skills are: pdf." in each for each in outputs(made))


def test_skills_of_others_taint_and_ones_of_the_project_do_not(project: Path, tmp_path: Path) -> None:
    @tool(effect="write")
    def pay() -> str:
        """Pay."""
        return "paid"

    write(project / "skills" / "pdf")
    write(tmp_path / "elsewhere" / "pdf")
    write(project / "venv" / "site-packages" / "pdf")
    (project / "linked").symlink_to(tmp_path / "elsewhere")
    for path, trusted, stop in (
        ("skills", None, None),
        ("../elsewhere", None, "approval"),
        ("venv/site-packages", None, "approval"),
        ("linked", None, "approval"),
        ("../elsewhere", True, None),
        ("skills", False, "approval"),
    ):
        model = ScriptedModel([[call("load_skill", name="pdf")], [call("pay")], "done"])
        tools = [Skills(path, trusted=trusted), pay]
        made = Agent(model, tools=tools, limits=Limits(after_untrusted="approve")).run("Go.")
        assert made.stop == stop, path


CODE = '''
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Field:
    name: str

Path("imported").touch()

def fill_form(field: Field) -> str:
    """Fill in a field of a form."""
    return f"filled {field.name}"

def _hidden() -> None:
    """Nobody's."""
'''


def test_code_is_imported_only_when_it_is_asked_for_and_its_tools_come_with_the_skill(project: Path) -> None:
    write(project / "pdf", tools_py=CODE)
    made = run(Skills("pdf"), [call("load_skill", name="pdf")])
    assert outputs(made)[0]["notes"] == ["Its tools.py is not loaded."]
    assert not (project / "imported").exists()
    turns = [
        [call("load_skill", name="pdf")],
        [call("fill_form", field={"name": "a"})],
    ]
    made = run(Skills("pdf", code=True), *turns)
    loaded, filled = outputs(made)
    assert loaded["tools"] == ["fill_form"]
    assert filled == "filled a"
    assert (project / "imported").exists()


def test_code_that_cannot_be_imported_is_said(project: Path) -> None:
    write(project / "pdf", tools_py="1 / 0")
    with pytest.raises(ConfigurationError, match="ZeroDivisionError"):
        Skills("pdf", code=True)
    write(project / "pdf", tools_py="def f(x: 'Nothing') -> None: ...")
    with pytest.raises(ToolDefinitionError, match="Nothing"):
        Skills("pdf", code=True)


def test_code_of_others_brings_untrusted_tools(project: Path) -> None:
    write(project / "pdf", tools_py=CODE)
    tools = {each.name: each for each in Skills("pdf", code=True, trusted=False).tools()}
    assert tools["fill_form"].untrusted
    assert tools["fill_form"].on_demand


def test_what_is_loaded_is_in_the_history_after_a_resume(project: Path) -> None:
    @tool(approval=True)
    def pay() -> str:
        """Pay."""
        return "paid"

    write(project / "pdf")
    model = ScriptedModel([[call("load_skill", name="pdf")], [call("pay")], "done"])
    first = Agent(model, tools=[Skills("pdf"), pay]).run("Go.")
    again = ScriptedModel(["done"])
    from agentkit import Approve

    Agent(again, tools=[Skills("pdf"), pay]).resume(first.to_json(), {first.pending[0].call_id: Approve()})
    assert "# PDF forms" in json.dumps(again.requests[0]["contents"])


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ("description: plain words: with a colon", "plain words: with a colon"),
        ("description: 'it''s quoted'", "it's quoted"),
        ('description: "a \\"b\\"\\n c"', 'a "b"\n c'),
        ("description: >-\n  folded\n  text\nother: x", "folded text"),
        ("description: |\n  two\n  lines\n", "two\nlines"),
        ("description: goes on\n  below", "goes on below"),
        ("description: words # a comment", "words"),
        ("description:\n  below alone", "below alone"),
        ("metadata:\n  description: inner\ndescription: outer", "outer"),
    ],
)
def test_front_matter_is_read_as_it_is_met(lines: str, value: str) -> None:
    assert front_matter(f"---\n{lines}\n---\nText.")["description"] == value


def test_a_text_without_front_matter_is_all_body_and_a_rule_in_it_stays() -> None:
    assert body_of("# T\n\n---\n\nmore") == "# T\n\n---\n\nmore"
    assert front_matter("# T") == {}
    assert body_of("---\nname: x\n---\na\n---\nb") == "a\n---\nb"


def test_what_has_no_effect_is_said_to_the_developer_and_the_model(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "---\nname: x\ndescription: d\nallowed-tools: Bash(git:*)\nmodel: opus\n---\nNow: !`date` for $ARGUMENTS"
    write(project / "x", text, scripts__run_py="print()")
    with caplog.at_level(logging.INFO, "agentkit.skills"):
        skills = Skills("x")
    notes = outputs(run(skills, [call("load_skill", name="x")]))[0]["notes"]
    assert notes == list(skills.skills[0].notes)
    words = ("allowed-tools", "model", "!`...`", "$ARGUMENTS", "scripts")
    assert all(any(word in note for note in notes) for word in words)
    assert all(note in caplog.text for note in notes)


def test_a_skill_that_no_model_may_load_is_not_declared(project: Path) -> None:
    write(project / "s" / "pdf")
    write(project / "s" / "x", "---\nname: x\ndescription: d\ndisable-model-invocation: true\n---\n")
    assert [skill.name for skill in Skills("s").skills] == ["pdf"]


def test_broken_skills_are_left_out_and_said(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(project / "s" / "pdf")
    write(project / "s" / "pdf2")  # of the same name
    write(project / "s" / "none", "no front matter")
    write(project / "s" / "large", "x" * 600_000)
    binary = write(project / "s" / "binary")
    (binary / "SKILL.md").write_bytes(b"---\n\xff\n---")
    (project / "s" / "linked").mkdir()
    (project / "s" / "linked" / "SKILL.md").symlink_to(project / "s" / "pdf" / "SKILL.md")
    (project / "s" / "pipe").mkdir()
    os.mkfifo(project / "s" / "pipe" / "SKILL.md")
    with caplog.at_level(logging.WARNING, "agentkit.skills"):
        assert [skill.name for skill in Skills("s").skills] == ["pdf"]
    for word in ("no front matter", "already", "500,000 bytes", "linked", "pipe", "binary"):
        assert word in caplog.text


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("name: 'a'  # ours\ndescription: \"b\" # c", ("a", "b")),
        ("\"name\": a\n'description': b", ("a", "b")),
        ('name: a\ndescription: "caf\\u00e9 \\x41 \\"b\\""', ("a", 'café A "b"')),
        ("name: |\n  a\n  b\ndescription: b", ("a b", "b")),
        ("name: ~\ndescription: b", ("folder", "b")),
        ('name: a\ndescription: it\'s 5 #1 "quoted"', ("a", "it's 5")),
    ],
)
def test_front_matter_is_read_as_yaml_means_it(project: Path, text: str, read: tuple[str, str]) -> None:
    write(project / "folder", f"---\n{text}\n---\nBody")
    (skill,) = Skills("folder").skills
    assert (skill.name, skill.description) == read


def test_a_skill_whose_file_has_a_second_name_is_read(project: Path) -> None:
    """As in a package that an installer has linked to its cache."""
    folder = write(project / "pdf")
    os.link(folder / "SKILL.md", project / "cached")
    assert [skill.name for skill in Skills("pdf").skills] == ["pdf"]


@pytest.mark.parametrize("description", ["~", "null", '""', "# nothing"])
def test_a_skill_without_a_description_is_refused(project: Path, description: str) -> None:
    write(project / "pdf", f"---\nname: pdf\ndescription: {description}\n---\nBody")
    with pytest.raises(ConfigurationError, match="no description in its front matter"):
        Skills("pdf")


def test_no_skill_at_all_is_an_error(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        Skills("nothing")
    (project / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="there are none"):
        Skills("empty")


def test_a_skill_that_is_gone_when_it_is_loaded_is_told_without_its_path(project: Path) -> None:
    folder = write(project / "pdf")
    skills = Skills("pdf")
    (folder / "SKILL.md").unlink()
    (said,) = outputs(run(skills, [call("load_skill", name="pdf")]))
    assert said == "The skill 'pdf' can't be read any more."
