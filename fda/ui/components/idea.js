export default function ({ data, parentElement }) {
  const { style } = parentElement.querySelector(".fda-idea");
  for (const [name, colour] of Object.entries(data)) style.setProperty(`--${name}`, colour);
}
