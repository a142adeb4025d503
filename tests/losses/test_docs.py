import re
from pathlib import Path

import pytest
import yaml

from tests.losses.test_zoo import LOSSES

PAGE = (Path(__file__).parents[2] / "docs/losses.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, flags=re.S | re.M))


def test_the_page_has_a_section_for_each_loss_and_none_besides() -> None:
    assert set(SECTIONS) == {c.__name__ for c in LOSSES}


@pytest.mark.parametrize("name", [c.__name__ for c in LOSSES])
def test_the_yaml_line_makes_the_loss(name: str) -> None:
    import lightning_embed.losses as zoo

    def make(spec: dict) -> object:
        settings = {
            k: make(v) if isinstance(v, dict) and "class_path" in v else v for k, v in spec.get("init_args", {}).items()
        }
        return getattr(zoo, spec["class_path"])(**settings)

    found = re.search(r"```yaml\n(.*?)```", SECTIONS[name], flags=re.S)
    assert found
    (term,) = yaml.safe_load(found[1]).values()
    assert type(make(term["loss"])).__name__ == name
