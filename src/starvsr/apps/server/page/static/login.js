import { post } from "./api.js";

const form = document.getElementById("login"), told = document.getElementById("told");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  told.textContent = "";
  try {
    await post("/login", { name: form.elements.name.value, password: form.elements.password.value });
    location.reload();
  } catch (error) {
    told.textContent = error.message;
    form.elements.password.value = "";
    form.elements.password.focus();
  }
});
